"""The check that the agent exists."""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from outlast.admission.request import Check, RunRequest
from outlast.errors import InvalidInput


def known_agent(names: Sequence[str]) -> Check:
    """Return the check that the agent exists; it may be left out when there is only one."""

    def check(request: RunRequest) -> RunRequest:
        if request.agent in names:
            return request
        return replace(request, agent=_resolve(request.agent, names))

    return check


def _resolve(wanted: str | None, names: Sequence[str]) -> str:
    there_are = f"this project has {', '.join(repr(name) for name in names) or 'none'}"
    if wanted is None:
        if len(names) == 1:
            return names[0]
        msg = f"agent is missing; {there_are}"
        raise InvalidInput(msg, field="agent")
    # Cut: a long wrong name is slow to compare and tells nothing more.
    shown = wanted[:100]
    close = get_close_matches(shown, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    msg = f"there is no agent {shown!r}{hint}; {there_are}"
    raise InvalidInput(msg, field="agent")
