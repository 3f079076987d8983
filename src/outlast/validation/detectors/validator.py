"""`detectors`: failure modes as reasons of a validator."""

import asyncio
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from pydantic import ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from outlast.validation.checks.check import Check, CheckOptions
from outlast.validation.detectors.built_in import DETECTORS
from outlast.validation.detectors.reading import Known, trace_of
from outlast.validation.paths import Path
from outlast.validation.validator import Invalid, Load, Reason, ValidationContext, Validator, Verdict

Mode = Literal[
    "tool_misuse", "context_overflow", "cascading_errors", "overconfidence", "off_topic_drift", "domain_hallucination"
]
_BEFORE_A_TOOL: Final[tuple[Mode, ...]] = ("tool_misuse",)
# More signs of one mode say nothing new.
_MOST_SIGNS: Final = 3


class DetectorsOptions(CheckOptions):
    """The table."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    modes: tuple[Mode, ...] = Field(
        default=cast("tuple[Mode, ...]", tuple(mode for mode, detector in DETECTORS.items() if detector.decidable)),
        description="that are looked for; not given: those that are decidable without a model",
    )
    thresholds: dict[Mode, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict[Mode, float], description="by mode; not given: as they were fitted"
    )
    tools: tuple[str, ...] | None = Field(
        default=None, description="that the agent may call, as names or patterns; not given: not looked at"
    )
    instructions: tuple[str, ...] = Field(
        default=(), description="which have to be in what the model is given, in whatever words"
    )
    confidence: Path = Field(default="confidence", description="where outputs say how sure they are")
    against: tuple[str | dict[str, Any], ...] = Field(
        default=(), description="validators that confidence is held against, as in `validators`"
    )
    record: tuple[tuple[Annotated[float, Field(ge=0, le=1)], bool], ...] = Field(
        default=(), description="confidence of earlier outputs, and whether they were right"
    )
    _judges: tuple[Validator, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _build(self, info: ValidationInfo) -> "DetectorsOptions":
        # It names us among the built-in ones.
        from outlast.validation.building import build  # noqa: PLC0415

        context = cast("Mapping[str, Any]", info.context or {})
        load = cast("Load | None", context.get("load"))
        self._judges = build(self.against, where="against", load=load or _nothing)
        return self

    @property
    def judges(self) -> Sequence[Validator]:
        """The validators that confidence is held against."""
        return self._judges


class Detectors(Check[DetectorsOptions]):
    """Reads the run's last turn as a trace, and lets the detectors look at it; each mode is a code of its own.

    Before a tool is called it looks for misuse only: that is what can be seen then.
    """

    takes: ClassVar = DetectorsOptions

    async def validate(self, output: Any, context: ValidationContext) -> Verdict:
        """Return what the detectors find."""
        modes: Sequence[Mode] = self.options.modes
        if context.tool is not None:
            modes = [mode for mode in modes if mode in _BEFORE_A_TOOL]
        valid = await self._judged(output, context) if "overconfidence" in modes else None
        known = Known(
            tools=self.options.tools, instructions=self.options.instructions, record=self.options.record,
            confidence_at=self.options.confidence, valid=valid,
        )  # fmt: skip
        # Long conversations take a while, and nothing of it waits.
        return self.verdict(await asyncio.to_thread(lambda: list(self._reasons(output, context, known, modes))))

    async def _judged(self, output: Any, context: ValidationContext) -> bool | None:
        """Return what the validators say that confidence is held against; None: there are none."""
        for judge in self.options.judges:
            answered = judge.validate(output, context)
            verdict = await answered if inspect.isawaitable(answered) else answered
            if isinstance(verdict, Invalid):
                return False
        return True if self.options.judges else None

    def _reasons(
        self, output: Any, context: ValidationContext, known: Known, modes: Sequence[Mode]
    ) -> Iterator[Reason]:
        trace = trace_of(self.part(output), context, known)
        for mode in modes:
            found = DETECTORS[mode](self.options.thresholds.get(mode)).look(trace)
            for sign in found.signs[:_MOST_SIGNS] if found else ():
                yield Reason(mode, sign.text)


def _nothing(place: str) -> object:
    msg = f"{place!r}: places of the project are not known here"
    raise ValueError(msg)
