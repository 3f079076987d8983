"""`hours`: when runs may begin."""

from datetime import datetime, timedelta
from typing import ClassVar, Final
from zoneinfo import ZoneInfo

from outlast.domain.admission import Allow, AskHuman, Later, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.policies.policy import ALLOWED, Policy
from outlast.settings_policies import HoursSettings, Weekday

_DAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class WorkingHours(Policy):
    """Refuses, delays or asks about a run outside of the hours. One that has begun goes on."""

    name: ClassVar[str | None] = "hours"
    about: ClassVar[frozenset[Kind]] = frozenset({"run"})

    def __init__(self, settings: HoursSettings) -> None:
        self._settings = settings
        self._zone = ZoneInfo(settings.zone)

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow | Refuse | Later | AskHuman:
        """Look at the clock of the zone."""
        settings = self._settings
        if settings.agents and request.agent not in settings.agents:
            return ALLOWED
        opens_at = self.opens_at(facts.at)
        if opens_at is None:
            return ALLOWED
        reason = f"runs may begin {self._told()}"
        match settings.closed:
            case "refuse":
                return Refuse(f"{reason}; the next time at {opens_at:%Y-%m-%d %H:%M %Z}")
            case "later":
                return Later((opens_at - facts.at).total_seconds(), reason)
            case "ask":
                return AskHuman(f"{reason}. Shall this one begin now?")

    def opens_at(self, at: datetime) -> datetime | None:
        """Return when it opens next; None: it is open."""
        settings = self._settings
        if settings.opens is None:
            return None
        local = at.astimezone(self._zone)
        # What opened yesterday may be open past midnight; a day of the week comes back within seven.
        for days in range(-1, 8):
            day = local.date() + timedelta(days=days)
            if _DAYS[day.weekday()] not in settings.days:
                continue
            opens = datetime.combine(day, settings.opens, self._zone)
            over_night = settings.closes <= settings.opens
            closes = datetime.combine(day + timedelta(days=over_night), settings.closes, self._zone)
            # Compared in UTC: between times of one zone Python ignores that a clock is put back.
            if closes.timestamp() <= at.timestamp():
                continue
            return opens if opens.timestamp() > at.timestamp() else None
        msg = "a week without an open day"
        raise ValueError(msg)

    def _told(self) -> str:
        settings = self._settings
        return f"on {', '.join(settings.days)} from {settings.opens:%H:%M} to {settings.closes:%H:%M} ({settings.zone})"
