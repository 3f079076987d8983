"""A receiver of OpenTelemetry's traces on a real port: it decodes what is posted as OTLP over HTTP does it."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One span."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: list[str]
    events: list[str]
    failed: bool
    message: str
    began: int
    ended: int

    @property
    def said(self) -> str:
        """Everything that it says, to look for what it must not say."""
        return f"{self.name} {self.attributes} {self.message} {self.events}"


@dataclass
class OtlpReceiver:
    port: int = 0
    spans: list[Exported] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    #: What is answered; another one than 200 makes the exporter try again or give up.
    status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of_trace(self, trace_id: str) -> list[Exported]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def of_run(self, run_id: Any) -> list[Exported]:
        return [span for span in self.spans if span.attributes.get("outlast.run_id") == str(run_id)]

    def names(self, run_id: Any) -> list[str]:
        return [span.name for span in self.of_run(run_id)]

    def take(self, raw: bytes) -> None:
        for of_resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self.spans += [_exported(span, resource) for span in of_scope.spans]


def tree(spans: list[Exported]) -> dict[str, list[str]]:
    """Names of spans by the name of what they are below; `` for what has no parent among them."""
    names = {span.span_id: span.name for span in spans}
    below: dict[str, list[str]] = {}
    for span in sorted(spans, key=lambda span: span.began):
        below.setdefault(names.get(span.parent_id, ""), []).append(span.name)
    return below


@contextmanager
def receiving_traces() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            receiver.paths.append(self.path)
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            if receiver.status == 200:
                receiver.take(gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(receiver.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # Connections that exporters keep open end with them; nobody waits for those.
        server.daemon_threads, server.block_on_close = True, False
        receiver.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        serving.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            serving.join(5)


def _exported(span: trace_pb2.Span, resource: dict[str, Any]) -> Exported:
    return Exported(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        resource=resource,
        links=[link.span_id.hex() for link in span.links],
        events=[event.name for event in span.events],
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        message=span.status.message,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
