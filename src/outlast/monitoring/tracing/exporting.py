"""The SDK of OpenTelemetry, set up from `[tracing]` and the standard variables.

Spans are queued, and sent in batches by a thread of its own. A receiver that is slow or away costs spans, never time:
when the queue is full, new ones push old ones out.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from outlast.monitoring.tracing.identity import Identity
from outlast.monitoring.tracing.sampling import Share
from outlast.settings_tracing import TracingSettings

_PATH: Final = "/v1/traces"
_DELAY: Final = "OTEL_BSP_SCHEDULE_DELAY"
# The SDK's own is 5: a worker that is killed takes what it has not sent with it.
_DELAY_MILLISECONDS: Final = 1000
_NAMES: Final = ("OTEL_SERVICE_NAME", "service.name=")


def exporting(settings: TracingSettings, environment: Mapping[str, str]) -> tuple[TracerProvider, Share]:
    """Return what makes spans and sends them; `shutdown` sends what is left."""
    sampler = Share(share_of(settings, environment))
    provider = TracerProvider(
        sampler=sampler, resource=_resource(settings, environment), id_generator=Identity(), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(
        endpoint=address_of(settings.endpoint) or None,
        headers={name: value.reveal() for name, value in settings.headers.items()} or None,
    )
    delay = None if environment.get(_DELAY) else _DELAY_MILLISECONDS
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
    return provider, sampler


def address_of(endpoint: str) -> str:
    """Return where spans are posted: the path of OTLP is added to an address that does not end with it."""
    if not endpoint:
        return ""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def share_of(settings: TracingSettings, environment: Mapping[str, str]) -> float:
    """Return the share of the traces that are recorded: of the settings, else of OTEL_TRACES_SAMPLER, else all."""
    if settings.sample is not None:
        return settings.sample
    name = environment.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_")
    if name == "always_off":
        return 0.0
    if name != "traceidratio":
        return 1.0
    try:
        share = float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    except ValueError:
        return 1.0
    return min(1.0, max(0.0, share))


def _resource(settings: TracingSettings, environment: Mapping[str, str]) -> Resource:
    own = {"service.version": version("outlast")}
    if settings.service:
        own["service.name"] = settings.service
    elif not environment.get(_NAMES[0]) and _NAMES[1] not in environment.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["service.name"] = "outlast"
    # What the variables say is in it, too.
    return Resource.create(own)
