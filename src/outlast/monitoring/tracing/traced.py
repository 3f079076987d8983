"""Traces of a process, from the settings; without them nothing of OpenTelemetry's SDK is even imported."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from outlast.errors import ConfigurationError
from outlast.settings import environment
from outlast.settings_tracing import TracingSettings
from outlast.telemetry import trace_with

log = logging.getLogger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_REMEDY: Final = 'install the extra: pip install "outlast[otel]"'
# To send what is left; an agent does not wait longer for a receiver that is away.
_PATIENCE_SECONDS: Final = 3.0


@dataclass(slots=True)
class _Shared:
    """Whoever opens it first traces for all of a process, to the last one's end."""

    users: int = 0
    stop: "Callable[[], Callable[[], None]] | None" = None


_shared: Final = _Shared()


@asynccontextmanager
async def traced(settings: TracingSettings) -> AsyncGenerator[None]:
    """Trace to the end of the block, if the settings or OTEL_EXPORTER_OTLP_ENDPOINT name a receiver.

    Raises ConfigurationError when the settings name one and the extra `otel` is not installed.
    """
    if not _wanted(settings, environment()):
        yield
        return
    if _shared.users == 0:
        _shared.stop = _started(settings)
    _shared.users += 1
    try:
        yield
    finally:
        _shared.users -= 1
        if _shared.users == 0 and _shared.stop is not None:
            stop, _shared.stop = _shared.stop, None
            await _sent(stop())


def _wanted(settings: TracingSettings, variables: Mapping[str, str]) -> bool:
    if variables.get("OTEL_SDK_DISABLED", "").lower() == "true" or variables.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    by_variable = any(variables.get(name) for name in _ENDPOINTS)
    if not settings.endpoint and not by_variable:
        return False
    if all(_is_there(name) for name in _NEEDED):
        return True
    if settings.endpoint:
        msg = f"tracing.endpoint is set, and OpenTelemetry's SDK is not installed; {_REMEDY}"
        raise ConfigurationError(msg)
    # It may be meant for others: a cluster sets it for all that it runs.
    log.warning("an OTEL_EXPORTER_OTLP_ENDPOINT is set, and nothing is traced; %s", _REMEDY)
    return False


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _started(settings: TracingSettings) -> "Callable[[], Callable[[], None]]":
    """Trace from now on; returns what ends that, which returns what sends the rest."""
    from opentelemetry import trace  # noqa: PLC0415 - only where somebody traces

    from outlast.monitoring.tracing.exporting import exporting  # noqa: PLC0415 - as above
    from outlast.monitoring.tracing.happenings import telling_events  # noqa: PLC0415 - as above
    from outlast.monitoring.tracing.outgoing import telling_services  # noqa: PLC0415 - as above
    from outlast.monitoring.tracing.tracer import OtelTracer  # noqa: PLC0415 - as above

    provider, sampler = exporting(settings, environment())
    tracer = OtelTracer(provider.get_tracer("outlast"), settings, sampler)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # What a project's own instrumentation says of its nodes belongs into the same trace.
        trace.set_tracer_provider(provider)
    ends = [telling_events(tracer), telling_services(tracer, settings.propagate_to)]
    trace_with(tracer)

    def stop() -> Callable[[], None]:
        trace_with(None)
        for end in ends:
            end()
        return provider.shutdown

    return stop


async def _sent(rest: Callable[[], None]) -> None:
    """Send what is left, in a thread that nothing waits for in the end: the receiver may be away."""
    loop, sent = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        rest()
        # The loop may be gone by then.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(sent.set)

    threading.Thread(target=run, name="outlast-traces", daemon=True).start()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await sent.wait()
    except TimeoutError:
        log.warning("the receiver of traces does not answer; what was not sent is lost")
