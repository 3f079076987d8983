"""Alerts, put together: what they are made of, and the way to the dead man's switch."""

from functools import partial

from outlast.errors import ConfigurationError, InvalidInput
from outlast.monitoring.alerts.evaluator import Beat, Evaluator
from outlast.monitoring.slo.burning import burning
from outlast.notifications.channel import JSON, Post, require_taken, target_of
from outlast.settings import Settings
from outlast.storage.postgres.alert_figures import AlertFigures, Looking
from outlast.storage.postgres.alerts import AlertStore
from outlast.storage.postgres.pool import Pool


def evaluator(settings: Settings, pool: Pool, post: Post) -> Evaluator:
    """Build what looks at the rules; raises ConfigurationError when the dead man's switch has no good address."""
    looking = Looking(
        lease=settings.worker.lease,
        silent=settings.recovery.silent,
        spans={name: rule.period for name, rule in settings.budgets.rules.items()},
        time_zone=settings.budgets.time_zone,
    )
    return Evaluator(
        AlertStore(pool),
        AlertFigures(pool, looking),
        partial(burning, pool, settings.slo),
        settings=settings.alerts,
        beat=_beat(settings, post),
    )


def _beat(settings: Settings, post: Post) -> Beat | None:
    url = settings.alerts.heartbeat.url
    if not url:
        return None
    try:
        target = target_of(url, settings.webhooks.networks)
    except InvalidInput as error:
        raise ConfigurationError(f"alerts.heartbeat.url: {str(error).removeprefix('webhook: ')}") from error

    async def beat(body: bytes) -> None:
        require_taken(await post(target, JSON, body), refused=frozenset())

    return beat
