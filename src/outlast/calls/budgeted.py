"""The layer that holds each try to the budgets of its run: nothing is asked that may take more than is left.

It is passed once per try, behind everything that waits: a retry and a fallback reserve what they take themselves, at
the price of the model that is asked. A try that may have been billed and did not say how much is charged as it was
reserved. Calls outside of runs have no budget.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from outlast.calls.bills import bill_of
from outlast.calls.budgets import Budgets, Reservation
from outlast.calls.call import Answer, Handler, Layer, ModelCall, Usage
from outlast.calls.scope import Scope
from outlast.domain.budget import Attempt, Cost, Line, Spender

if TYPE_CHECKING:
    from outlast.calls.services import Calls


def budgeted(calls: "Calls") -> Layer:
    """Reserve before each try, settle after it; raises BudgetExceeded instead of asking."""

    def layer(following: Handler) -> Handler:
        if calls.budgets is None:
            return following
        budgets = calls.budgets

        async def handle(call: ModelCall) -> Answer:
            if call.scope is None:
                return await following(call)
            lines = await budgets.lines(spender_of(call.scope))
            if not lines:
                return await following(call)
            return await _paid(budgets, call.scope, lines, call, following)

        return handle

    return layer


def spender_of(scope: Scope) -> Spender:
    """Return whose budgets a run's calls concern."""
    return Spender(
        tenant=scope.tenant, user=scope.user_id, agent=scope.agent, run=str(scope.lineage), thread=scope.thread_id
    )


async def _paid(budgets: Budgets, scope: Scope, lines: Sequence[Line], call: ModelCall, following: Handler) -> Answer:
    target = call.target or call.targets[0]
    loading = call.calls.prices.loading()
    if loading is not None:
        # Everybody's: whoever stops waiting must not end it for the others.
        await asyncio.shield(loading)
    if budgets.settled not in scope.closing:
        # When the outcome of the attempt is stored, its counters are right.
        scope.closing.append(budgets.settled)
    bill = bill_of(call, target, budgets.settings)
    reservation = await budgets.reserve(
        lines, bill, Attempt(scope.run_id, scope.epoch), patience=max(0.0, call.deadline.left)
    )
    options, counted = call.options, len(call.spent)
    if reservation.bill.limit_name is not None:
        call.options = {**options, reservation.bill.limit_name: reservation.bill.output_tokens}
    try:
        return await following(call)
    finally:
        call.options = options
        budgets.settle(reservation.key, _taken(reservation, call.spent[counted:]))


def _taken(reservation: Reservation, tries: Sequence[Usage]) -> Cost | None:
    """Return what was taken; None: nobody knows. Nothing was metered: nothing was asked."""
    micros = tokens = 0
    for usage in tries:
        counted = usage.input_tokens + usage.output_tokens
        if usage.cost_micros is None and not counted:
            return None
        unpriced = reservation.bill.cost is None
        micros += (0 if unpriced else reservation.reserved.micros) if usage.cost_micros is None else usage.cost_micros
        tokens += counted
    return Cost(micros, tokens)
