"""What the thread-centred protocol takes in: commands, and what a stream is about."""

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from outlast.domain.options import Multitask
from outlast.server.protocol_frames import CHANNELS, Subscription, known_channel
from outlast.server.run_bodies import Body, CommandBody, ConfigBody, Name, SendBody, TracerBody

_LARGEST: Final = 2**53 - 1

Segments = Annotated[list[Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]], Field(max_length=100)]


class EventsBody(Body):
    """What a stream is about, and where it begins."""

    channels: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=200)] = Field(
        description=f"some of {', '.join(CHANNELS)}, custom:<name>"
    )
    namespaces: Annotated[list[Segments], Field(max_length=1000)] | None = None
    depth: Annotated[int, Field(ge=0, le=1000)] | None = None
    since: Annotated[int, Field(ge=0, le=_LARGEST, description="what comes behind this `seq`")] | None = None

    @property
    def unknown(self) -> str | None:
        """What is wrong with the channels; None when nothing is."""
        if not self.channels:
            return "channels: at least one is needed"
        wrong = [channel for channel in self.channels if not known_channel(channel)]
        return f"channels: {wrong[0][:100]!r} is none of {', '.join(CHANNELS)}, custom:<name>" if wrong else None

    @property
    def subscription(self) -> Subscription:
        """What is wanted."""
        return Subscription(
            channels=frozenset(self.channels),
            namespaces=tuple(tuple(namespace) for namespace in self.namespaces or ()),
            depth=self.depth,
        )


class RunStart(Body):
    """`run.start`."""

    assistant_id: Name
    input: Any = None
    config: ConfigBody | None = None
    metadata: dict[str, Any] | None = None
    langsmith_tracer: TracerBody | None = None
    multitask_strategy: Multitask | None = None
    # JavaScript sends both.
    multitaskStrategy: Multitask | None = None  # noqa: N815 - its name on the wire


class Response(Body):
    """An answer to one question; questions are known by their id alone."""

    interrupt_id: Name
    response: Any = None
    namespace: Segments | None = None


class InputRespond(Body):
    """`input.respond`: one answer, or several at once."""

    interrupt_id: Name | None = None
    response: Any = None
    namespace: Segments | None = None
    responses: Annotated[list[Response], Field(min_length=1, max_length=1000)] | None = None
    update: dict[str, Any] | list[Annotated[list[Any], Field(min_length=2, max_length=2)]] | None = None
    goto: Name | SendBody | Annotated[list[Name | SendBody], Field(max_length=1000)] | None = None
    config: ConfigBody | None = None
    metadata: dict[str, Any] | None = None
    # An answer that nobody waits for is always refused.
    strict_resume: bool | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.interrupt_id is None) == (self.responses is None):
            msg = "send either interrupt_id with response, or responses"
            raise ValueError(msg)
        return self

    @property
    def answers(self) -> dict[str, Any]:
        """The answers by the id of their question."""
        if self.responses is not None:
            return {answer.interrupt_id: answer.response for answer in self.responses}
        return {str(self.interrupt_id): self.response}

    def command(self) -> CommandBody:
        """Return the command of the run that answers."""
        return CommandBody(resume=self.answers, **self.model_dump(include={"update", "goto"}, exclude_none=True))


class GetTree(Body):
    """`agent.getTree`."""

    run_id: Name | None = None


class StateGet(Body):
    """`state.get`."""

    namespace: Segments | None = None
    keys: Annotated[list[Name], Field(max_length=1000)] | None = None


class ListCheckpoints(Body):
    """`state.listCheckpoints`."""

    namespace: Segments | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    before: Name | None = None


class StateFork(Body):
    """`state.fork`."""

    checkpoint_id: Name
    input: Any = None
    config: ConfigBody | None = None
