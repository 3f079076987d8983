"""What creates a run in the Agent Server API: every field that either SDK can send.

A field that is not here is refused, and so is one that means nothing where it was sent: what a client asks for is done,
or it is told that it is not.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

from outlast.domain.options import Multitask
from outlast.errors import InvalidInput, NotSupported

_30_DAYS: Final = 30 * 24 * 3600
_LONGEST_NAME: Final = 255
_LONGEST_URL: Final = 65_536

# PostgreSQL's texts hold no NUL.
Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME, pattern=r"^[^\x00]*$")]
Names = Annotated[list[Name], Field(max_length=1000)]
StreamMode = Literal[
    "values", "messages", "messages-tuple", "updates", "events", "tasks", "checkpoints", "debug", "custom", "tools",
    "lifecycle",
]  # fmt: skip
#: Modes of the SDKs that have no place in the stream of one run.
NOT_STREAMED: Final = ("tools", "lifecycle")


class Body(BaseModel):
    """A body that has these fields and no others."""

    # Strict: true is no number, and "false" is no false.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ConfigBody(Body):
    """LangGraph's run configuration, as far as a request may set it."""

    tags: Names | None = None
    recursion_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    configurable: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    run_name: Name | None = None


class SendBody(Body):
    """A node to run, and what it is given instead of the state."""

    node: Name
    input: Any = None


class CommandBody(Body):
    """What a run does instead of starting with an input: answer a question, change the state, go to a node."""

    resume: Any = None
    update: dict[str, Any] | list[Annotated[list[Any], Field(min_length=2, max_length=2)]] | None = None
    goto: Name | SendBody | Annotated[list[Name | SendBody], Field(max_length=1000)] | None = None


class CheckpointBody(Body):
    """The checkpoint that a run starts from; the newest one of the thread when it is left out."""

    thread_id: str | None = None
    checkpoint_ns: str | None = None
    checkpoint_id: str | None = None
    checkpoint_map: dict[str, Any] | None = None


class TracerBody(Body):
    """Where LangSmith puts the trace."""

    project_name: Name | None = None
    example_id: Name | None = None


class RunBody(Body):
    """A run that is wanted, on any route that creates one."""

    assistant_id: Annotated[Name, Field(description="an assistant's id, or a graph's name for its default assistant")]
    input: Any = None
    command: CommandBody | None = None
    config: ConfigBody | None = None
    context: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    checkpoint: CheckpointBody | None = None
    checkpoint_id: Name | None = None
    checkpoint_during: Annotated[bool | None, Field(description="older word: true is sync, false is exit")] = None
    durability: Literal["sync", "async", "exit"] | None = None
    interrupt_before: Literal["*"] | Names | None = None
    interrupt_after: Literal["*"] | Names | None = None
    stream_mode: StreamMode | Annotated[list[StreamMode], Field(max_length=50)] | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    feedback_keys: Names | None = None
    webhook: Annotated[str, Field(min_length=1, max_length=_LONGEST_URL)] | None = None
    multitask_strategy: Multitask | None = None
    if_not_exists: Literal["create", "reject"] | None = None
    on_disconnect: Literal["cancel", "continue"] | None = None
    on_completion: Literal["delete", "keep"] | None = None
    after_seconds: Annotated[float, Field(ge=0, le=_30_DAYS, allow_inf_nan=False)] | None = None
    strict_resume: Annotated[bool | None, Field(description="an answer that nobody waits for is always refused")] = None
    langsmith_tracer: TracerBody | None = None

    @property
    def modes(self) -> tuple[str, ...]:
        """The stream modes, each once."""
        chosen = [self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode
        return tuple(dict.fromkeys(chosen)) if chosen else ("values",)

    def check(self, *, stateless: bool, awaited: bool) -> None:
        """Refuse what has no meaning here; `awaited`: the client stays for the result.

        Raises NotSupported or InvalidInput, naming the field.
        """
        for mode in NOT_STREAMED:
            if mode in self.modes:
                msg = f"stream mode {mode!r} is not one of a run's stream; use the thread's (client.threads.stream)"
                raise NotSupported(msg, field="stream_mode")
        if self.command is not None and self.input is not None:
            msg = "send either an input or a command, not both"
            raise InvalidInput(msg, field="command")
        if self.on_disconnect == "cancel" and not awaited:
            msg = "a run in the background has no client whose leaving could cancel it"
            raise NotSupported(msg, field="on_disconnect")
        if stateless:
            self._check_stateless()
        elif self.on_completion is not None:
            msg = "on_completion is about the thread made for a stateless run; this run has a thread of the client's"
            raise NotSupported(msg, field="on_completion")
        self._check_durability()

    def _check_stateless(self) -> None:
        for field in ("checkpoint", "checkpoint_id"):
            if getattr(self, field) is not None:
                msg = "a stateless run has no checkpoint to start from; post it to /threads/{thread_id}/runs"
                raise NotSupported(msg, field=field)

    def _check_durability(self) -> None:
        if self.checkpoint_during is None or self.durability is None:
            return
        if self.durability == "exit" if self.checkpoint_during else self.durability != "exit":
            msg = f"checkpoint_during={self.checkpoint_during} contradicts durability={self.durability!r}; send one"
            raise InvalidInput(msg, field="checkpoint_during")


class BatchItem(RunBody):
    """One run of a batch: stateless, or on the thread that it names."""

    thread_id: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _spelled_as_in_javascript(cls, value: Any) -> Any:
        """Take the names of JavaScript's SDK, whose createBatch sends them as its callers write them."""
        if not isinstance(value, dict):
            return value
        given = dict(cast("Mapping[str, Any]", value))
        for camel, snake in _CAMEL.items():
            if camel in given:
                item = given.pop(camel)
                given.setdefault(snake, item)
        tracer = given.get("langsmith_tracer")
        if isinstance(tracer, dict):
            names = {"projectName": "project_name", "exampleId": "example_id"}
            given["langsmith_tracer"] = {names.get(k, k): v for k, v in cast("dict[str, Any]", tracer).items()}
        return given


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


_CAMEL: Final = {
    **{_camel(name): name for name in RunBody.model_fields if "_" in name},
    "_langsmithTracer": "langsmith_tracer",
}
#: Bodies of POST /runs/batch.
Batch = Annotated[list[BatchItem], FailFast(), Field(min_length=1, max_length=1000)]


class CancelBody(Body):
    """Which runs to cancel: those named, or those with a status."""

    thread_id: Name | None = None
    run_ids: Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = None
    status: Literal["pending", "running", "all"] | None = None

    @model_validator(mode="after")
    def _says_which(self) -> "CancelBody":
        if (self.run_ids is None) == (self.status is None):
            msg = "send either run_ids or status"
            raise ValueError(msg)
        return self
