"""The table `[logs]`: what processes write to stderr."""

from typing import Literal

from pydantic import Field

from outlast.setting_branch import Branch

LogLevel = Literal["debug", "info", "warning", "error"]


class LogSettings(Branch):
    """Lines of the process, JSON unless a person reads along."""

    level: LogLevel = Field(default="info", description="of Outlast's own lines: debug, info, warning, error")
    libraries: LogLevel = Field(
        default="warning", description="of lines of libraries and of the project's own loggers: debug, info, ..."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="json: one object per line; text: for people; auto: text on a terminal, else json"
    )
    nodes: bool = Field(default=True, description="a line for each node that has ended (its beginning: level debug)")
    runs: bool = Field(default=True, description="a line with the figures of each attempt that has ended")
    requests: bool = Field(default=False, description="a line for each request that the API has answered")
    content: bool = Field(
        default=False,
        description="what runs were given and what they put out, and errors as they are. Without it, personal data in "
        "errors is masked",
    )
