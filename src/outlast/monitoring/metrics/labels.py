"""Values of labels come from closed sets, and name nobody.

A label value is a series of its own, for ever: a user, a thread or a run in one would fill Prometheus, and tell what
nobody should read there. So values are the ones that a figure lists, or names of the project: agents are those of the
project file; models, nodes, tools and routes are taken as they come, up to a limit, unless they look like an id or are
one of the ids of the run at hand. Whatever is not taken becomes `other`.
"""

import re
from collections.abc import Collection
from typing import Final

from outlast.monitoring.metrics.figure import NONE, OTHER, Values
from outlast.telemetry import surroundings

AGENT: Final = "agent_name"
_LONGEST: Final = 100
# Of what is around, what tells somebody or something apart.
_IDENTITIES: Final = ("user_id", "thread_id", "run_id", "key_id", "request_id", "trace_id")
# Shorter ones may be in a name by chance.
_TELLING: Final = 8
_ID: Final = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"  # UUIDs
    r"|[0-9a-f]{16}"  # tokens, hashes
    r"|(?<![0-9a-z])[0-9a-hjkmnp-tv-z]{26}(?![0-9a-z])"  # ULIDs
    r"|(?<![0-9])[0-9]{9}"  # numbers of customers, telephones
    r"|[^\s@:/]+@[^\s@:/]+\.[a-z]"  # e-mail addresses
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]",
    re.IGNORECASE,
)


class Labels:
    """What was taken so far, in this process; called from any thread."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._taken: dict[str, set[str]] = {}
        self._agents: set[str] = {NONE}

    def know(self, agents: Collection[str], *, most: int) -> None:
        """Take these agents as well."""
        self._agents.update(sorted(agents)[:most])
        self._most = max(self._most, most)

    def closed(self, label: str, value: object, values: Values) -> str:
        """Return the value, or what stands for it."""
        text = NONE if value is None else str(value)
        if values is not None:
            return text if text in values else OTHER
        if label == AGENT:
            return text if text in self._agents else OTHER
        return text if self._takes(label, text) else OTHER

    def _takes(self, label: str, text: str) -> bool:
        taken = self._taken.setdefault(label, set())
        if text in taken:
            return True
        if len(taken) >= self._most or not text or len(text) > _LONGEST or _names_somebody(text):
            return False
        taken.add(text)
        return True


def _names_somebody(text: str) -> bool:
    if _ID.search(text) is not None:
        return True
    around = surroundings()
    folded = text.casefold()
    return any(
        folded == known or (len(known) >= _TELLING and known in folded)
        for name in _IDENTITIES
        if (known := str(around.get(name) or "").casefold())
    )
