"""Where a run is stopped because it runs away: turns, tokens, cost and time of the run and all that runs inside of it.

Looked at before each fresh call; an answer out of the journal is no new call and passes. Calls that are under way when
a cap is reached may end, so parallel ones can go beyond it by what they use; only the time is also a deadline, at which
a call that is under way is given up. What nobody knows the price of counts as tokens and turns, not as cost.
"""

from typing import TYPE_CHECKING

from outlast.calls.call import Answer, Handler, Layer, ModelCall
from outlast.calls.deadline import Deadline
from outlast.calls.scope import Scope
from outlast.calls.spending import Spent
from outlast.errors import CapReached, ProviderUnavailable
from outlast.settings import CallSettings, CapSettings
from outlast.telemetry import emit

if TYPE_CHECKING:
    from outlast.calls.services import Calls

_MICROS = 1_000_000


def capped(calls: "Calls") -> Layer:
    """Count what a run uses, and raise CapReached instead of making a call that it may not make any more."""
    by_agent = {agent: caps_of(calls.settings, agent) for agent in calls.settings.agents}

    def layer(following: Handler) -> Handler:
        async def handle(call: ModelCall) -> Answer:
            scope = call.scope
            if scope is None:
                return await following(call)
            caps, spent = by_agent.get(scope.agent, calls.settings.caps), scope.spent
            caps = within_policies(caps, scope)
            await restore(calls, scope)
            _check(caps, spent, scope)
            # Nothing is awaited between the check and this, so parallel calls cannot pass by the same figure.
            spent.turns += 1
            counted = len(call.spent)
            try:
                return await _in_time(following, call, caps, scope)
            finally:
                spent.add(call.spent[counted:])
                scope.tally.add_tries(call.spent[counted:])

        return handle

    return layer


def caps_of(settings: CallSettings, agent: str) -> CapSettings:
    """Return the caps of an agent's runs: its own, and for what they leave open those of the project."""
    own = settings.agents.get(agent)
    return settings.caps if own is None else settings.caps.model_copy(update=own.caps.model_dump(exclude_unset=True))


def within_policies(caps: CapSettings, scope: Scope) -> CapSettings:
    """Return the caps, lowered to what `[policies.runs]` allows the tenant and the agent."""
    policing = scope.calls.policing
    if policing is None:
        return caps
    most = policing.limits(scope.tenant, scope.agent)
    lower = {
        cap: limit
        for cap in ("tokens", "cost_usd", "seconds")
        if (limit := getattr(most, cap)) is not None and ((own := getattr(caps, cap)) is None or limit < own)
    }
    return caps.model_copy(update=lower) if lower else caps


async def restore(calls: "Calls", scope: Scope) -> None:
    """Add what earlier attempts of this run have used, once; raises DatabaseUnavailable."""
    spent = scope.spent
    if spent.restored:
        return
    async with spent.lock:
        if spent.restored:
            return
        # Epoch 1 is the first claim ever. What another run asked and this one answers was that run's to use.
        if calls.usage is not None and scope.epoch > 1:
            turns, tokens, cost_micros = await calls.usage.spent_by(scope.run_id)
            spent.turns += turns
            spent.tokens += tokens
            spent.cost_micros += cost_micros
        spent.restored = True


async def _in_time(following: Handler, call: ModelCall, caps: CapSettings, scope: Scope) -> Answer:
    if caps.seconds is None:
        return await following(call)
    call.deadline = call.deadline.earlier(Deadline(scope.spent.began_at + caps.seconds))
    try:
        return await following(call)
    except (ProviderUnavailable, TimeoutError) as error:
        used = scope.spent.seconds
        # No try was begun, or it was given up, since the run's time is over: another attempt has no more of it.
        if used + call.calls.settings.shortest_try.total_seconds() >= caps.seconds:
            raise _reached("seconds", used, caps.seconds, scope) from error
        raise


def _check(caps: CapSettings, spent: Spent, scope: Scope) -> None:
    cost = spent.cost_micros / _MICROS
    if caps.turns is not None and spent.turns >= caps.turns:
        raise _reached("turns", spent.turns, caps.turns, scope)
    if caps.tokens is not None and spent.tokens >= caps.tokens:
        raise _reached("tokens", spent.tokens, caps.tokens, scope)
    if caps.cost_usd is not None and cost >= caps.cost_usd:
        raise _reached("cost_usd", cost, caps.cost_usd, scope)
    if caps.seconds is not None and spent.seconds >= caps.seconds:
        raise _reached("seconds", spent.seconds, caps.seconds, scope)


def _reached(cap: str, used: float, limit: float, scope: Scope) -> CapReached:
    emit("call.capped", run_id=scope.run_id, agent=scope.agent, cap=cap, used=used, limit=limit)
    return CapReached(cap=cap, used=used, limit=limit, setting=f"{_branch(cap, limit, scope)}.{cap}")


def _branch(cap: str, limit: float, scope: Scope) -> str:
    policing = scope.calls.policing
    if policing is not None and getattr(policing.limits(scope.tenant, scope.agent), cap, None) == limit:
        return "policies.runs"
    own = scope.calls.settings.agents.get(scope.agent)
    return f"calls.agents.{scope.agent}.caps" if own is not None and cap in own.caps.model_fields_set else "calls.caps"
