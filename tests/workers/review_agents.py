"""Graphs whose outputs are looked at, and validators that a test sets."""

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode

import outlast
from outlast.validation.validator import Context

#: By agent and node: how often it was executed, and what it was told.
CALLS: dict[str, int] = {}
TOLD: list[Any] = []
#: What validators saw.
SEEN: list[tuple[Any, Context]] = []
#: Nodes that raise the next time.
FAILING: set[str] = set()
#: Prices that `offer` says, one after the other; the last one is said again.
PRICES: list[int] = []


def reset() -> None:
    CALLS.clear()
    TOLD.clear()
    SEEN.clear()
    FAILING.clear()
    PRICES[:] = [-1]


class Offer(TypedDict, total=False):
    price: int
    confidence: float
    log: Annotated[list[str], operator.add]
    review: list[Any]
    stakes: str


class OfferOutput(TypedDict, total=False):
    price: int
    confidence: float
    log: list[str]


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]


class Deaf(TypedDict, total=False):
    price: int


class PositivePrice(outlast.Validator):
    def validate(self, output: Any, context: Context) -> Any:
        SEEN.append((output, context))
        price = output if isinstance(output, int) else output.get("price")
        if price is not None and price > 0:
            return outlast.Valid()
        return outlast.Invalid([outlast.Reason("not_positive", f"the price is {price}", "price")])


class Polite(outlast.Validator):
    def validate(self, output: Any, context: Context) -> Any:
        SEEN.append((output, context))
        text = output["messages"][-1]["content"]
        return outlast.Valid() if "please" in text else outlast.Invalid("it is not polite")


def _count(name: str) -> int:
    if name in FAILING:
        FAILING.remove(name)
        raise ConnectionError(name)
    CALLS[name] = CALLS.get(name, 0) + 1
    return CALLS[name]


def _offer(state: Offer) -> Offer:
    number = _count("offer")
    TOLD.append(state.get("review"))
    price = PRICES[min(number, len(PRICES)) - 1]
    return {"price": price, "log": [f"offer {price}"], "confidence": 0.9}


def _check(_state: Offer) -> Offer:
    _count("check")
    return {"log": ["checked"]}


def _again(state: Offer) -> str:
    # What an edit must not wake up.
    return "check" if state.get("price") == 7 else END


async def _say(state: Talk) -> Talk:
    number = _count("say")
    TOLD.append([message.content for message in state["messages"]])
    said = ["give it to me", "please give it to me"]
    return {"messages": [AIMessage(said[min(number, 2) - 1], id=f"said {number}")]}


def _deaf(_state: Deaf) -> Deaf:
    _count("deaf")
    return {"price": -1}


def _offers() -> Any:
    builder = StateGraph(Offer, output_schema=OfferOutput)
    builder.add_node("offer", _offer)
    builder.add_node("check", _check)
    builder.add_edge(START, "offer")
    builder.add_conditional_edges("offer", _again, ["check", END])
    builder.add_edge("check", END)
    return builder.compile()


def _talks() -> Any:
    builder = StateGraph(Talk)
    builder.add_node("say", _say)
    builder.add_edge(START, "say")
    return builder.compile()


def _is_deaf() -> Any:
    builder = StateGraph(Deaf)
    builder.add_node("deaf", _deaf)
    builder.add_edge(START, "deaf")
    return builder.compile()


offers = _offers()
talks = _talks()
deaf = _is_deaf()


@entrypoint()
async def function(given: dict[str, Any]) -> int:
    number = _count("function")
    TOLD.append(given.get("review"))
    return PRICES[min(number, len(PRICES)) - 1]


def _ask(state: Offer) -> Offer:
    _count("ask")
    said = outlast.escalate(
        "Take it?", reasons=["it is cheap"], subject={"price": state["price"]}, deadline=60, default="reject"
    )
    TOLD.append(said)
    return {"price": said.get("value", {}).get("price", state["price"]), "log": [said["decision"]]}


def _steps(*nodes: tuple[str, Any]) -> Any:
    builder = StateGraph(Offer)
    before = START
    for name, node in nodes:
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile()


@tool
def pay(amount: int) -> str:
    """Pay an amount."""
    _count("pay")
    TOLD.append(amount)
    return f"paid {amount}"


def _payer(amounts: list[int]) -> Any:
    """A model that pays one amount after the other, and then says what it has heard last."""

    async def model(state: Talk) -> Talk:
        number = _count("model")
        if number > len(amounts):
            return {"messages": [AIMessage(f"heard: {state['messages'][-1].content}")]}
        call = {"name": "pay", "args": {"amount": amounts[number - 1]}, "id": f"call {number}"}
        return {"messages": [AIMessage("", tool_calls=[call])]}

    builder = StateGraph(Talk)
    builder.add_node("model", model)
    builder.add_node("tools", ToolNode([pay], **outlast.middleware().hooks))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", lambda s: "tools" if s["messages"][-1].tool_calls else END, ["tools", END])
    builder.add_edge("tools", "model")
    return builder.compile()


asks = _steps(("ask", _ask))
checked = _steps(("offer", _offer), ("check", _check))
pays = _payer([-5, 5])
pays_badly = _payer([-5, -6, -7])


class PositiveAmount(outlast.Validator):
    def validate(self, output: Any, context: Context) -> Any:
        return outlast.Valid() if output["amount"] > 0 else outlast.Invalid("it is not positive", fields=["amount"])


AGENTS = ("offers", "talks", "deaf", "function", "asks", "checked", "pays", "pays_badly")

for _graph in (offers, deaf, function):
    outlast.validated(_graph, PositivePrice())
outlast.validated(talks, Polite())
