"""The validators of a project, its own ones included, as a process asks them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from langgraph.errors import GraphBubbleUp

from outlast.agents.judging import ask
from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.settings_validation import ValidationSettings
from outlast.validation.engine import Validation


@asynccontextmanager
async def validating(settings: ValidationSettings, project: Project) -> AsyncGenerator[Validation]:
    """Open what outputs are looked at by; raises ConfigurationError for whatever is wrong with a validator."""
    opened = validation_of(settings, project)
    try:
        yield opened
    finally:
        await opened.aclose()


def validation_of(settings: ValidationSettings, project: Project) -> Validation:
    """Return the validators that the settings name; raises ConfigurationError."""

    def load(place: str) -> object:
        # A file of JSON is read by who asks for it; all it needs is where the project is.
        if ":" not in place:
            return project.root / place
        _, found = load_attribute(project, project.target("validation", place))
        return found

    return Validation(settings, agents=tuple(project.agents), load=load, ask=ask, bubbles=(GraphBubbleUp,))
