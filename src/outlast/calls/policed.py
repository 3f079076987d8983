"""The layer that asks policies and kill switches before a model is asked, and what effects and tools ask of both.

An answer out of the journal is no new call and passes. Who meets a switch ends its task without failing it: the run is
handed back at its step boundary and goes on when the switch is on again, its earlier answers in the journal.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from outlast.calls.call import Answer, Handler, Layer, ModelCall, Target
from outlast.calls.caps import restore
from outlast.calls.scope import Scope
from outlast.domain.admission import Allow, Later
from outlast.domain.policy import PolicyFacts, PolicyRequest
from outlast.domain.switch import Switch
from outlast.policies.engine import Decided
from outlast.policies.policing import Policing
from outlast.refusals import PolicyRefused
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls


def policed(calls: "Calls") -> Layer:
    """Raise PolicyRefused for a model that the run may not ask; of several that could answer, leave out those."""
    policing = calls.policing

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            if policing is not None and call.scope is not None:
                await pass_switches(call.scope)
                if policing.engine.concerns("model"):
                    call.targets = await _allowed(policing, call, call.scope)
            return await following(call)

        return handle

    return layer


async def pass_switches(scope: Scope, *, tool: str | None = None) -> None:
    """Return when nothing that the run is about to do is switched off; ends its task otherwise."""
    policing = scope.calls.policing
    if policing is None:
        return
    await policing.board.fresh()
    switch = policing.board.stops(scope.tenant, scope.agent)
    if switch is None and tool is not None:
        switch = policing.board.stops_tool(scope.tenant, tool)
        if switch is not None:
            # Written down before the run is handed back, or it would be claimed again at once.
            await policing.hold(scope.run_id, scope.epoch, tool=tool)
    if switch is not None:
        stopped(scope, switch)
        scope.stop(f"{switch.what} is switched off: {switch.reason}")


def stopped(scope: Scope, switch: Switch) -> None:
    """Tell that a run stops at a switch."""
    emit("switch.stopped", run_id=scope.run_id, agent=scope.agent, kind=switch.kind, name=switch.name)


async def decided(scope: Scope, policing: Policing, request: PolicyRequest) -> Decided:
    """Ask the policies on behalf of a run; tell of a refusal."""
    await restore(scope.calls, scope)
    outcome = await policing.decide(request, facts_of(scope, policing))
    if not isinstance(outcome.verdict, Allow | Later):
        emit(
            "policy.objected", run_id=scope.run_id, agent=scope.agent, policy=outcome.by,
            verdict=type(outcome.verdict).__name__, about=request.kind, name=request.model or request.tool,
        )  # fmt: skip
    return outcome


def facts_of(scope: Scope, policing: Policing) -> PolicyFacts:
    """Return what policies may know of a run that is going on."""
    spent = scope.spent
    return PolicyFacts(
        tenant=scope.tenant, user=scope.user_id, key_id=scope.key_id, agent=scope.agent, at=policing.now(),
        turns=spent.turns, tokens=spent.tokens, cost_micros=spent.cost_micros, seconds=spent.seconds,
        errors=scope.errors,
    )  # fmt: skip


async def _allowed(policing: Policing, call: ModelCall, scope: Scope) -> tuple[Target, ...]:
    """Return the models that may be asked; raises PolicyRefused where there is none."""
    request = PolicyRequest(
        kind="model", agent=scope.agent, run_id=scope.run_id, thread_id=scope.thread_id, metadata={}
    )
    allowed: list[Target] = []
    refused: PolicyRefused | None = None
    for target in call.targets:
        outcome = await decided(scope, policing, replace(request, model=target.name))
        if isinstance(outcome.verdict, Allow | Later):
            allowed.append(target)
        elif refused is None:
            said = outcome.verdict
            # A person cannot be asked for each call of a model.
            reason = (
                getattr(said, "reason", None) or f"it would have to be asked about: {getattr(said, 'question', '')}"
            )
            refused = PolicyRefused(policy=outcome.by or "policies", reason=reason)
    if refused is not None and not allowed:
        raise refused
    return tuple(allowed)
