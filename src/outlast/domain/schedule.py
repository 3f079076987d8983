"""When a cron is due: five fields of cron, in a time zone.

Changes of the clock are handled as Debian's cron handles them. A job at a specific time that the clock skips in spring
runs once, right after the gap; one in the hour that comes twice in autumn runs once, the first time. A job of every
hour or more often follows real time: it neither pauses nor doubles.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from outlast.errors import InvalidInput

_FIELDS = 5
# Far more than any schedule needs; the parser's work grows with it.
_LONGEST = 256


def next_tick(schedule: str, timezone: str | None, after: datetime) -> datetime | None:
    """Return the first moment after `after` at which the schedule is due, in UTC; None when there is none in 50 years.

    `timezone` is a name of the IANA database, None is UTC. Raises InvalidInput naming the field that is wrong.
    """
    if len(schedule) > _LONGEST or len(schedule.split()) != _FIELDS:
        msg = "a schedule has five fields: minute, hour, day of month, month, day of week, as in '30 9 * * 1-5'"
        raise InvalidInput(msg, field="schedule")
    try:
        ticks = CronSim(schedule, after.astimezone(zone(timezone)))
    except CronSimError as error:
        msg = f"{schedule!r} is no schedule: {error}"
        raise InvalidInput(msg, field="schedule") from error
    for tick in ticks:
        # In the hour that comes twice CronSim begins with the first of the two, wherever `after` lies. In UTC, because
        # two times of one zone are compared by what the clock on the wall shows.
        moment = tick.astimezone(UTC)
        if moment > after.astimezone(UTC):
            return moment
    return None


def zone(name: str | None) -> ZoneInfo:
    """Return the time zone of this name; raises InvalidInput."""
    try:
        return ZoneInfo("UTC" if name is None else name)
    # The name becomes part of a path: a directory, a NUL, '..' and what is too long each have an error of their own.
    except (KeyError, ValueError, OSError) as error:
        msg = f"there is no time zone {name!r}; use a name of the IANA database, as in 'Europe/Berlin'"
        raise InvalidInput(msg, field="timezone") from error
