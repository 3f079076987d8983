"""How a validator asks a model: as a call of the run, whose answer is remembered under a place of its own.

Between the tasks of a graph there is no place that a call could be remembered by, so a review is given one. After a
crash the same question about the same output gets the answer that was paid for. The call itself stays without a place:
in a review nobody is there whom a budget could ask, so one that wants to fails the call.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import HumanMessage, SystemMessage

from outlast.calls import scope
from outlast.calls.chat_models import chat_model
from outlast.calls.journal import journal
from outlast.calls.scope import Place

_SERIES: Final = "validation"


async def ask(model: str, *, system: str, text: str, schema: Mapping[str, Any], name: str) -> Any:
    """Return what the model says, as JSON of the schema.

    Raises what a model call of a node raises, and LangChain's OutputParserException for what is no such JSON.
    """
    within = scope.current.get()

    async def call() -> Any:
        scope.current.set(within)
        asked = chat_model(model).with_structured_output(dict(schema))
        return await asked.ainvoke([SystemMessage(system), HumanMessage(text)])

    if within is None or within.locate() is not None:
        return await call()
    digest = hashlib.sha256(f"{model}\x00{system}\x00{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    here = Place(f"outlast:{_SERIES}:{name}:{digest}")
    # What it remembers is its own; what it has spent and what has to end with the attempt are the run's.
    token = scope.current.set(replace(within, locate=lambda: here, memory=None))
    try:
        return await journal(_SERIES, call)
    finally:
        scope.current.reset(token)
