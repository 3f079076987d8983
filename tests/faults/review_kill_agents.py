"""An agent that never says anything acceptable; the witness counts how often it was asked."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from witness import say

import outlast


class Offer(TypedDict, total=False):
    price: int
    log: Annotated[list[str], operator.add]
    review: list[Any]


class Positive(outlast.Validator):
    def validate(self, output: Any, context: outlast.ValidationContext) -> Any:
        say("looked", attempt=context.attempt)
        return outlast.Valid() if output["price"] > 0 else outlast.Invalid("it is not positive")


def offer(state: Offer) -> Offer:
    say("offered", told=len(state.get("review") or ()))
    return {"price": -1, "log": ["offered"]}


def check(_state: Offer) -> Offer:
    say("checked")
    return {"log": ["checked"]}


_builder = StateGraph(Offer)
_builder.add_node("offer", offer)
_builder.add_node("check", check)
_builder.add_edge(START, "offer")
# What an edit must not wake up.
_builder.add_conditional_edges("offer", lambda state: "check" if state["price"] == 7 else END, ["check", END])
_builder.add_edge("check", END)
offers = outlast.validated(_builder.compile(), Positive())
