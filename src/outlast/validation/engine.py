"""Asks the validators of an agent, and makes one verdict of what they say.

Each is asked, so that whoever has to do better hears everything at once. Those that ask a model, which costs, are asked
last, and only when nothing else speaks against the output.
"""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

from outlast.errors import ConfigurationError, OutlastError
from outlast.policies.names import matches
from outlast.settings_validation import Named, ValidationSettings
from outlast.validation.attached import attached
from outlast.validation.building import build
from outlast.validation.rules import Rules
from outlast.validation.sources import sources_of
from outlast.validation.validator import (
    SEVERITIES,
    Ask,
    Context,
    Invalid,
    Load,
    Reason,
    Valid,
    Validator,
    Verdict,
)

log = logging.getLogger(__name__)

#: Of reasons about a validator itself.
FAILED: Final = "validator_failed"
TIMED_OUT: Final = "validator_timeout"
# Sync validators that are asked at the same time; one that hangs keeps its thread.
_THREADS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """How validators are asked, in this process."""

    timeout_seconds: float
    model_timeout_seconds: float
    #: Raised by calls of the run, or to end its attempt: not the validator's failure.
    bubbles: tuple[type[BaseException], ...]
    ask: Ask | None
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="outlast-validation")
    )

    async def all(self, validators: Sequence[Validator], output: Any, context: Context) -> Verdict:
        """Ask them side by side; what they say is told in their order."""
        context = context if self.ask is None else replace(context, ask=self.ask)
        free = [validator for validator in validators if not validator.asks_model]
        paid = [validator for validator in validators if validator.asks_model]
        found = await self._each(free, output, context)
        return found if isinstance(found, Invalid) else await self._each(paid, output, context)

    async def _each(self, validators: Sequence[Validator], output: Any, context: Context) -> Verdict:
        asked = (self._one(validator, output, context) for validator in validators)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return merged([answer for answer in answers if isinstance(answer, Invalid)])

    async def _one(self, validator: Validator, output: Any, context: Context) -> Verdict:
        seconds = self.model_timeout_seconds if validator.asks_model else self.timeout_seconds
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                answer = await self._called(validator, output, context)
        except self.bubbles:
            raise
        # A check that cannot be made must not let pass.
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return _unable(validator, TIMED_OUT, f"the validator took over {seconds:g} s")
            log.exception("validator %s failed", validator.called)
            return _unable(validator, FAILED, f"the validator failed ({type(error).__name__}); its error is in the log")
        if isinstance(answer, Invalid):
            return answer.told_by(validator.called)
        if isinstance(answer, Valid):
            return answer
        log.error("validator %s answered %r; return Valid() or Invalid(reasons)", validator.called, answer)
        return _unable(validator, FAILED, "the validator gave no verdict; what it answered is in the log")

    async def _called(self, validator: Validator, output: Any, context: Context) -> Any:
        if inspect.iscoroutinefunction(validator.validate):
            return await validator.validate(output, context)
        here = contextvars.copy_context()

        def call() -> Any:
            return here.run(validator.validate, output, context)

        answer = await asyncio.get_running_loop().run_in_executor(self.threads, call)
        return await answer if inspect.isawaitable(answer) else answer


class AgentValidation:
    """The validators of one agent, and what happens when they find fault."""

    def __init__(
        self,
        agent: str,
        rules: Rules,
        asking: _Asking,
        *,
        final: Sequence[Validator] = (),
        nodes: Mapping[str, Sequence[Validator]] | None = None,
        tools: Mapping[str, Sequence[Validator]] | None = None,
    ) -> None:
        self.agent: Final = agent
        self.rules: Final = rules
        self._asking = asking
        self.final: Final = tuple(final)
        self._nodes = {name: tuple(of) for name, of in (nodes or {}).items()}
        self._tools = {name: tuple(of) for name, of in (tools or {}).items()}

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes whose output is looked at."""
        return frozenset(name for name, of in self._nodes.items() if of)

    @property
    def has_tools(self) -> bool:
        """Whether the arguments of any tool are looked at."""
        return any(self._tools.values())

    def concerns(self, *, node: str | None = None, tool: str | None = None) -> bool:
        """Whether there is anything to ask: of a node, of a tool, or of the final output."""
        return bool(self.validators(node=node, tool=tool))

    def validators(self, *, node: str | None = None, tool: str | None = None) -> tuple[Validator, ...]:
        """Return those that are asked."""
        if tool is not None:
            return tuple(one for pattern, of in self._tools.items() if matches(tool, (pattern,)) for one in of)
        return self.final if node is None else self._nodes.get(node, ())

    def with_more(self, final: Sequence[Validator]) -> "AgentValidation":
        """Return the same, with more validators of the final output."""
        more = (*self.final, *final)
        return AgentValidation(self.agent, self.rules, self._asking, final=more, nodes=self._nodes, tools=self._tools)

    async def check(self, output: Any, context: Context) -> Verdict:
        """Return what the validators say: of the context's tool, of its node, or else of the final output.

        Raises what the calls of a run raise (a budget that is spent, a lost lease): it ends the attempt as it would
        in a node.
        """
        asked = self.validators(node=context.node, tool=context.tool)
        return await self._asking.all(asked, output, context) if asked else Valid()

    def sources_of(
        self,
        *,
        input: Any = None,  # noqa: A002 - as the context says it
        output: Any = None,
        messages: Sequence[Any] = (),
    ) -> Mapping[str, str]:
        """Return what the output has to rest upon, for the context."""
        return sources_of(self.rules.sources, input=input, output=output, messages=messages)


class Validation:
    """The validators of a project, made once per process."""

    def __init__(
        self,
        settings: ValidationSettings,
        *,
        agents: Sequence[str],
        load: Load,
        ask: Ask | None = None,
        bubbles: Sequence[type[BaseException]] = (),
    ) -> None:
        """Make all that the settings name; raises ConfigurationError that says which one cannot be made."""
        self._asking = _Asking(
            timeout_seconds=settings.timeout.total_seconds(),
            model_timeout_seconds=settings.model_timeout.total_seconds(),
            bubbles=(OutlastError, *bubbles), ask=ask,
        )  # fmt: skip
        self._load = load
        self._settings = settings
        self._warned: set[str] = set()
        if unknown := sorted(set(settings.agents) - set(agents)):
            known = ", ".join(agents) or "none"
            msg = f"validation.agents.{unknown[0]}: there is no agent {unknown[0]!r} in the project; there is: {known}"
            raise ConfigurationError(msg)
        self._general = self._built(settings.validators, "validation.validators")
        self._tools = {name: self._built(of, f"validation.tools.{name}") for name, of in settings.tools.items()}
        self._made = {agent: self._of(agent) for agent in agents}

    def of(self, agent: str, graph: Any = None) -> AgentValidation:
        """Return what is asked of an agent; `graph` is its graph, for what `outlast.validated` has given it."""
        made = self._made.get(agent)
        if made is None:
            made = self._made[agent] = self._of(agent)
        self._warn(made, graph)
        given = attached(graph)
        return made.with_more(given) if given else made

    def _warn(self, made: AgentValidation, graph: Any) -> None:
        """Say once that validators name a node that there is not; a graph may have it under another config."""
        nodes: Any = getattr(graph, "nodes", None)
        if nodes is None or made.agent in self._warned or made.nodes <= set(nodes):
            return
        self._warned.add(made.agent)
        missing = ", ".join(sorted(made.nodes - set(nodes)))
        log.warning("validation.agents.%s.nodes names %s, and its graph has no such node", made.agent, missing)

    async def aclose(self) -> None:
        """End what it has started. A thread of a validator that hangs is left to itself."""
        self._asking.threads.shutdown(wait=False, cancel_futures=True)

    def _of(self, agent: str) -> AgentValidation:
        rules = Rules.of(self._settings, agent)
        own = self._settings.agents.get(agent)
        if own is None:
            return AgentValidation(agent, rules, self._asking, final=self._general, tools=self._tools)
        where = f"validation.agents.{agent}"
        final = self._built(own.validators, f"{where}.validators")
        nodes = {name: self._built(of, f"{where}.nodes.{name}") for name, of in own.nodes.items()}
        tools = {name: self._built(of, f"{where}.tools.{name}") for name, of in own.tools.items()}
        if own.inherit:
            final = (*self._general, *final)
            shared = {name: (*of, *tools.get(name, ())) for name, of in self._tools.items()}
            tools = {**tools, **shared}
        return AgentValidation(agent, rules, self._asking, final=final, nodes=nodes, tools=tools)

    def _built(self, named: Sequence[Named], where: str) -> tuple[Validator, ...]:
        return build(named, where=where, load=self._load)


def merged(found: Sequence[Invalid]) -> Verdict:
    """Return one verdict: all reasons in their order, with the gravest severity."""
    if not found:
        return Valid()
    reasons = [reason for invalid in found for reason in invalid.reasons]
    fields = [field for invalid in found for field in invalid.fields]
    gravest = SEVERITIES[max(SEVERITIES.index(invalid.severity) for invalid in found)]
    return Invalid(reasons, gravest, fields)


def _unable(validator: Validator, code: str, text: str) -> Invalid:
    return Invalid([Reason(code, text, by=validator.called)], "high")
