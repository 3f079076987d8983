"""Validators inside of a graph: of what a node returns, and of a tool's arguments before it is called.

A node is looked at within its task, before anything that it returned is written: what is not acceptable never gets
into the state. Told to do better it is called again in the same task, with the reasons in its input. A person is asked
by that task, which is executed again with the answer; calls of models are answered by the journal then. What a person
said is for exactly the output that was shown, so another one is asked about anew.

Tries are counted for one execution of the task: a crash begins it anew, and crashes are counted by themselves.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Final, cast

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.types import Command, interrupt

from outlast.agents.jsonable import jsonable
from outlast.agents.outputs import REVIEW
from outlast.calls.scope import note_invalid
from outlast.domain.admission import Allow, AskHuman, Refuse, Verdict
from outlast.domain.question import WORDS, Decision, hash_of
from outlast.domain.review import read_answer
from outlast.domain.run import ClaimedRun
from outlast.errors import InvalidInput, OutlastError
from outlast.telemetry import emit
from outlast.validation.engine import AgentValidation
from outlast.validation.validator import Context, Invalid

_MESSAGES: Final = "messages"


class ValidationFailed(OutlastError):
    """What a node returned, or a tool was to be called with, is not acceptable; no other attempt would help."""

    code = "validation_failed"


class Rejected(OutlastError):
    """A person did not want what a node returned."""

    code = "rejected"


class Checks:
    """The validators of one attempt's nodes and tools."""

    def __init__(self, validation: AgentValidation, run: ClaimedRun) -> None:
        self._validation = validation
        self._run = run
        #: By tool, how often the model was told in this attempt.
        self._refused: dict[str, int] = {}

    @property
    def of_tools(self) -> "Checks | None":
        """Itself, if any tool is looked at."""
        return self if self._validation.has_tools else None

    def graph(self, graph: Any) -> Any:
        """Return the graph with the nodes that are looked at behind their validators; else as it is."""
        wanted = self._validation.nodes & set(graph.nodes)
        if not wanted:
            return graph
        checked = copy(graph)
        checked.nodes = {
            name: node.copy({"bound": _Checked(node.bound, name, self)}) if name in wanted else node
            for name, node in graph.nodes.items()
        }
        return checked

    def concerns(self, tool: str) -> bool:
        """Whether any validator looks at this tool."""
        return self._validation.concerns(tool=tool)

    async def verdict(
        self, tool: str, arguments: Mapping[str, Any], *, ask: bool = False
    ) -> tuple[Verdict, Sequence[Mapping[str, str]]]:
        """Return whether the tool may be called, and why not; raises ValidationFailed where the run is to fail."""
        verdict = await self._validation.check(dict(arguments), self._context(tool=tool))
        reasons = [reason.as_json() for reason in verdict.reasons] if isinstance(verdict, Invalid) else []
        if ask:
            return AskHuman(_question(tool)), reasons
        if not isinstance(verdict, Invalid):
            return Allow(), ()
        note_invalid()
        times = self._refused[tool] = self._refused.get(tool, 0) + 1
        match self._validation.rules.action(verdict, repaired=times - 1):
            case "repair":
                return Refuse(_lines("its arguments are not acceptable", verdict)), reasons
            case "escalate":
                return AskHuman(_question(tool)), reasons
            case "accept":
                emit("review.accepted", run_id=self._run.id, agent=self._run.agent, tool=tool)
                return Allow(), ()
            case "fail":
                emit("review.failed", run_id=self._run.id, agent=self._run.agent, tool=tool)
                raise ValidationFailed(_lines(f"{tool} was not called: its arguments are not acceptable", verdict))

    async def node(self, name: str, bound: Runnable[Any, Any], given: Any, config: RunnableConfig | None) -> Any:
        """Call a node until what it returns is acceptable, or somebody has decided about it."""
        wanted, repaired = given, 0
        while True:
            output = await bound.ainvoke(wanted, config)
            invalid = await self._objection(name, output)
            if invalid is None:
                return output
            wanted, repaired = self._better(name, given, invalid, repaired)
            if wanted is not None:
                continue
            match self._validation.rules.action(invalid, repaired=repaired):
                case "accept":
                    emit("review.accepted", run_id=self._run.id, agent=self._run.agent, node=name)
                    return output
                case "escalate":
                    said, output = _decided(name, output, invalid)
                    if said is None:
                        return output
                    wanted = _told(given, said, [{"code": "person", "text": said}]) or given
                case _:
                    emit("review.failed", run_id=self._run.id, agent=self._run.agent, node=name)
                    raise ValidationFailed(_lines(f"the output of node {name!r} is not acceptable", invalid))

    def _better(self, name: str, given: Any, invalid: Invalid, repaired: int) -> tuple[Any, int]:
        """Return what the node is called with to do better, None where it is not; and how often that was."""
        if self._validation.rules.action(invalid, repaired=repaired) != "repair":
            return None, repaired
        text = _lines(f"What {name!r} returned was not accepted. Correct all of this", invalid)
        told = _told(given, text, [reason.as_json() for reason in invalid.reasons])
        # Who cannot be told has had all its tries.
        return told, repaired + 1 if told is not None else 10**9

    async def _objection(self, name: str, output: Any) -> Invalid | None:
        shown: Any = cast("Command[Any]", output).update if isinstance(output, Command) else output
        verdict = await self._validation.check(shown, self._context(node=name))
        if not isinstance(verdict, Invalid):
            return None
        note_invalid()
        return verdict

    def _context(self, *, node: str | None = None, tool: str | None = None) -> Context:
        run = self._run
        return Context(
            input=run.input, agent=run.agent, thread_id=run.thread_id, run_id=run.id, tenant=run.tenant,
            user=run.user_id, node=node, tool=tool,
        )  # fmt: skip


class _Checked(Runnable[Any, Any]):
    """A node's code with its validators."""

    def __init__(self, bound: Runnable[Any, Any], name: str, checks: Checks) -> None:
        self._bound = bound
        self._name = name
        self._checks = checks

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - LangChain's
        msg = "runs are executed asynchronously"
        raise NotImplementedError(msg)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002, ARG002
        return await self._checks.node(self._name, self._bound, input, config)


def _decided(name: str, output: Any, invalid: Invalid) -> tuple[str | None, Any]:
    """Ask a person; return what the node is told, or None and what is its output. Raises Rejected."""
    decision = _asked(name, output, invalid)
    match decision.decision:
        case "approve":
            return None, output
        case "edit":
            return None, decision.value
        case "respond":
            return decision.message or str(decision.value or ""), output
        case "reject":
            msg = f"a person rejected the output of node {name!r}: {decision.message or 'without a reason'}"
            raise Rejected(msg)


def _asked(name: str, output: Any, invalid: Invalid) -> Decision:
    subject = jsonable(output)
    question: dict[str, Any] = {
        "type": "review", "question": f"Is this output of node {name!r} to be believed?", "node": name,
        "reasons": [reason.as_json() for reason in invalid.reasons], "severity": invalid.severity,
        "fields": list(invalid.fields), "allowed": list(WORDS), "subject": subject,
    }  # fmt: skip
    answer = interrupt(question)
    while True:
        try:
            decision = read_answer(answer)
            if decision.hash in {None, hash_of(subject)}:
                return decision
            problem = "the node returned something else than what was decided about; look at it again"
        except InvalidInput as error:
            problem = str(error)
        answer = interrupt({**question, "problem": problem})


def _told(given: Any, text: str, why: Sequence[Mapping[str, str]]) -> Any:
    """Return a node's input with what is wrong; None: it has no place for that."""
    if not isinstance(given, dict):
        return None
    state = cast("dict[str, Any]", given)
    if isinstance(state.get(_MESSAGES), list):
        return {**state, _MESSAGES: [*state[_MESSAGES], HumanMessage(text)]}
    return {**state, REVIEW: [dict(reason) for reason in why]}


def _question(tool: str) -> str:
    return f"Call {tool} with these arguments, although validators object?"


def _lines(begins: str, invalid: Invalid) -> str:
    told = [f"{reason.field}: {reason.text}" if reason.field else reason.text for reason in invalid.reasons]
    named = {reason.field for reason in invalid.reasons}
    where = [field for field in invalid.fields if field not in named]
    return f"{begins}: {'; '.join(told)}" + (f" ({', '.join(where)})" if where else "")
