"""Looks at the rules, decides what becomes of alerts, and says that somebody looks.

Any number of processes may run it: whose turn it is, and what time it is, the database says. What was decided and the
notices about it are stored in one transaction, under the number of the round; so a process that is killed has decided
nothing, or everything, and one that was suspended over its round has no say any more. A source that cannot be read
leaves the alerts of its rules as they are, and the dead man's switch is not told that all is well.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import orjson

from outlast.domain.alert import Breach, Decision
from outlast.monitoring.alerts.deciding import decide
from outlast.monitoring.alerts.rules import of_anomalies, of_burns, of_figures
from outlast.monitoring.slo.burning import Burn
from outlast.settings_alerts import AlertSettings, Rule
from outlast.storage.postgres.alert_figures import SOURCES, AlertFigures, sources_of
from outlast.storage.postgres.alerts import AlertStore
from outlast.telemetry import emit, rounds_for_ever

#: Looks within one round's time: whoever comes first has the next round.
_LOOKS: Final = 3
#: Rounds between two looks for what is old.
_FORGET_EVERY: Final = 240

Burning = Callable[[], Awaitable[Sequence[Burn]]]
#: Posts to the dead man's switch; raises whatever goes wrong.
Beat = Callable[[bytes], Awaitable[None]]


class Evaluator:
    """Does a round whenever it is due; `run` until cancelled."""

    def __init__(
        self,
        store: AlertStore,
        figures: AlertFigures,
        burning: Burning,
        *,
        settings: AlertSettings,
        beat: Beat | None = None,
    ) -> None:
        self._store = store
        self._figures = figures
        self._burning = burning
        self._settings = settings
        self._beat = beat
        self._rules = {rule.name: rule for rule in settings.in_force()}

    async def run(self) -> None:
        """Look for ever."""
        if self._settings.enabled:
            every = self._settings.every.total_seconds() / _LOOKS
            await rounds_for_ever(self.round, seconds=every, loop="alerts", at_once=False)

    async def round(self) -> Decision | None:
        """Decide once; None: it is not this process's turn."""
        round_ = await self._store.claim(every=self._settings.every)
        if round_ is None:
            return None
        breaches, unseen = await self._look()
        deciding = partial(decide, breaches=breaches, rules=self._rules, unseen=unseen)
        decision = await self._store.settle(round_, deciding, flapping=self._settings.flapping)
        if decision is None:
            return None
        for alert in decision.fired:
            emit("alert.fired", rule=alert.rule, severity=alert.severity, subject=alert.subject, tenant=alert.tenant)
        for alert in decision.resolved:
            emit("alert.resolved", rule=alert.rule, severity=alert.severity, subject=alert.subject, tenant=alert.tenant)
        if not unseen:
            await self._say_so(round_)
        if round_ % _FORGET_EVERY == 0:
            await self._store.forget(age=self._settings.history)
        return decision

    async def _look(self) -> tuple[list[Breach], set[str]]:
        """Return what is not as it should be, and the rules of which nobody can say."""
        found: list[Breach] = []
        unseen: set[str] = set()
        metrics = {rule.metric for rule in self._rules.values() if rule.metric is not None}
        for source in sources_of(metrics):
            rules = [rule for rule in self._rules.values() if rule.metric in SOURCES[source][1]]
            await self._collect(f"alerts.{source}", partial(self._of_figures, source, rules), rules, found, unseen)
        for name, read in (("anomaly", self._of_anomalies), ("slo_burn", self._of_burns)):
            if (rule := self._rules.get(name)) is not None:
                await self._collect(f"alerts.{name}", partial(read, rule), [rule], found, unseen)
        return found, unseen

    async def _collect(
        self,
        what: str,
        read: Callable[[], Awaitable[list[Breach]]],
        rules: Sequence[Rule],
        found: list[Breach],
        unseen: set[str],
    ) -> None:
        try:
            found += await read()
        # One source that fails must not silence the others.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop=what, error=type(error).__name__)
            unseen.update(rule.name for rule in rules)

    async def _of_figures(self, source: str, rules: Sequence[Rule]) -> list[Breach]:
        figures = await self._figures.read(source)
        return [breach for rule in rules for breach in of_figures(rule, figures)]

    async def _of_anomalies(self, rule: Rule) -> list[Breach]:
        return list(of_anomalies(rule, await self._figures.anomalies()))

    async def _of_burns(self, rule: Rule) -> list[Breach]:
        return list(of_burns(rule, await self._burning()))

    async def _say_so(self, round_: int) -> None:
        """Tell the dead man's switch that the rules were looked at; it raises the alarm when it hears no more."""
        every = self._settings.heartbeat.every
        if self._beat is None or not await self._store.is_heartbeat_due(round_, every=every):
            return
        watch = await self._store.standing()
        try:
            await self._beat(orjson.dumps({
                "type": "outlast.alerts.heartbeat", "round": round_, "evaluated_at": watch.evaluated_at,
                "firing": watch.firing,
            }))  # fmt: skip
        # Whatever a network does, and whatever a receiver answers: it is tried again in the next round.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop="alerts.heartbeat", error=type(error).__name__)
        else:
            await self._store.heartbeat_sent()
            emit("alert.heartbeat", round=round_)
