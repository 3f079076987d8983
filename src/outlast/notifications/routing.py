"""Which channels are told of what, by the settings."""

from collections.abc import Iterable, Iterator

from outlast.domain.alert import TEST_RULE
from outlast.domain.notification import SEVERITIES, Unrouted
from outlast.settings_notifications import NotificationSettings, RouteSettings


def channels_for(item: Unrouted, settings: NotificationSettings) -> Iterator[str]:
    """Yield the channels that are told, those of several routes more than once.

    Without routes everybody is told everything. That a default was taken, or that an alert is over, opens no incident:
    nothing is left to do.
    """
    for route in settings.routes.values() if settings.routes else _everywhere(settings):
        if _leads(route, item):
            yield from (name for name in route.channels if _is_told(settings, name, item))


def _everywhere(settings: NotificationSettings) -> Iterator[RouteSettings]:
    if settings.channels:
        yield RouteSettings(channels=tuple(settings.channels))


def _is_told(settings: NotificationSettings, channel: str, item: Unrouted) -> bool:
    return not (item.event in {"expired", "recovered"} and settings.channels[channel].type == "pagerduty")


def _leads(route: RouteSettings, item: Unrouted) -> bool:
    """Whether a route is for this."""
    if item.event == "alert" and item.kind == TEST_RULE:
        # It is there to show that every route leads somewhere.
        return True
    asked = (
        (route.events, item.event),
        (route.kinds, item.kind),
        (route.agents, item.agent),
        (route.tenants, item.tenant),
    )
    return all(_takes(wanted, value) for wanted, value in asked) and _is_urgent(route, item)


def _takes(wanted: Iterable[str], value: str) -> bool:
    given = tuple(wanted)
    return not given or value in given


def _is_urgent(route: RouteSettings, item: Unrouted) -> bool:
    return SEVERITIES.index(item.severity) >= SEVERITIES.index(route.at_least)
