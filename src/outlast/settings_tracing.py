"""`[tracing]`: where traces go, and what they may say."""

from typing import Annotated

from pydantic import Field, field_validator

from outlast.secret import Secret
from outlast.setting_branch import Branch


class TracingSettings(Branch):
    """Traces in OpenTelemetry's protocol. The standard variables OTEL_* count where this table says nothing."""

    endpoint: str = Field(
        default="",
        description="a receiver of OTLP over HTTP, as `http://localhost:4318`; empty: as OTEL_EXPORTER_OTLP_ENDPOINT "
        "says, else nothing is traced",
    )
    headers: dict[str, Secret] = Field(
        default_factory=dict[str, Secret], description="sent with each export, by name, as `authorization`"
    )
    service: str = Field(
        default="", description="the name of the service; empty: as OTEL_SERVICE_NAME says, or outlast"
    )
    sample: Annotated[
        float | None,
        Field(ge=0, le=1, description="share of the traces that begin here; none: as OTEL_TRACES_SAMPLER says, or all"),
    ] = None
    content: bool = Field(
        default=False, description="put prompts, answers, arguments and results of tools, and users' ids into traces"
    )
    openinference: bool = Field(
        default=False, description="name what models and tools do in the words of OpenInference, too, for Phoenix"
    )
    propagate_to: tuple[str, ...] = Field(
        default=("*",),
        description="hosts, as `*.example.com`, that are told the trace by what nodes, tools and effects send with "
        "httpx; empty: none",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str) -> str:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            # The address itself may hold a password.
            msg = "expected http://host:port or https://host, of a receiver of OTLP over HTTP (not gRPC)"
            raise ValueError(msg)
        return endpoint.rstrip("/")
