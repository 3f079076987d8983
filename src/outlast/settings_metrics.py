"""`[metrics]`: figures of what happens, for Prometheus."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from outlast.setting_branch import Branch


class MetricsSettings(Branch):
    """What is counted, and where it can be read besides the API's /metrics."""

    enabled: bool = Field(default=True, description="count what happens; what the database knows is shown anyway")
    listen: Annotated[
        str,
        Field(
            pattern=r"^(|(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5})$",
            description="address of a worker's own /metrics, as 127.0.0.1:9464; empty: none",
        ),
    ] = ""
    directory: Path | None = Field(
        default=None,
        description="processes of one machine that name the same directory count together: each shows all of them",
    )
    most_values: Annotated[
        int, Field(ge=1, le=10_000, description="different agents, models, nodes or tools; further ones are `other`")
    ] = 100
