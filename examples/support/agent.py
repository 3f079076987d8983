"""A support conversation: triage -> faq | order | human | refund -> tone.

What must not be answered by a machine alone (money back, anger, anything it does not understand) becomes a question to
a colleague: the run waits in the database for minutes or days, and goes on with the answer in whatever process. Money
goes back in three steps: `refund` proposes, `approve` asks a person, who may change the amount, and `pay` pays exactly
what was approved, once. Without a model the rules below decide and write; with a key in the environment one does.
"""

import asyncio
import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import httpx
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

import outlast

HERE = Path(__file__).parent
ORDERS: dict[str, dict[str, Any]] = json.loads((HERE / "orders.json").read_text(encoding="utf-8"))
#: Where refunds are paid; without it they are files in the folder `refunds`.
PAYMENTS_URL = os.environ.get("SUPPORT_PAYMENTS_URL")
FAQ = {
    ("open", "hours"): "We are there from Monday to Friday, 9:00 to 17:00.",
    ("ship", "deliver", "long"): "Orders arrive within two to four working days.",
    ("return", "exchange"): "You can return anything within 30 days; the label is in the parcel.",
    ("pay", "card", "invoice"): "We take cards, PayPal and bank transfer.",
}
MONEY = ("refund", "money", "pay me back", "paid back")
ANGRY = ("angry", "outrag", "unacceptable", "terrible", "lawyer", "complain", "!!")
SENSITIVE = (*ANGRY, "broken", "damaged", "person", "human", "agent")
SURE = 0.6
ANSWER_WITHIN = timedelta(days=2)

Intent = Literal["faq", "order", "human", "refund"]


class Refund(TypedDict):
    """What is paid back, in cents."""

    order: str
    cents: int


class Conversation(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    intent: Intent
    confidence: float
    # Kept from turn to turn: "when will it arrive?" is about the order of the turn before.
    order_id: str
    #: What waits for a person's yes, or has it.
    proposal: Refund
    #: What was paid back, by order.
    refunds: dict[str, int]
    reply: str


async def triage(state: Conversation) -> dict[str, Any]:
    """Decide who answers."""
    text = _last(state).lower()
    intent, confidence = rules(text, known_order=state.get("order_id"))
    model = chat_model()
    if model is not None and confidence < 1:
        answer = await model.ainvoke(f"One word, faq, order or human: who should answer this customer? {text}")
        said = str(answer.text).strip().lower()
        intent, confidence = (said, 0.9) if said in ("faq", "order", "human") else ("human", 0.0)
    changes: dict[str, Any] = {"intent": intent if confidence >= SURE else "human", "confidence": confidence}
    if number := re.search(r"\b\d{4}\b", text):
        changes["order_id"] = number[0]
    return changes


def rules(text: str, *, known_order: str | None) -> tuple[Intent, float]:
    """Classify by keywords; money and sensitive words always win."""
    if any(word in text for word in MONEY):
        return "refund", 1.0
    if any(word in text for word in SENSITIVE):
        return "human", 1.0
    if re.search(r"\b\d{4}\b", text):
        return "order", 1.0
    if known_order and re.search(r"\b(it|order|arrive|parcel|when|where)\b", text):
        return "order", 0.8
    if _faq(text):
        return "faq", 0.8
    return ("order", 0.7) if "order" in text else ("human", 0.0)


def faq(state: Conversation) -> dict[str, Any]:
    return {"reply": _faq(_last(state).lower()) or "Could you say that in other words?"}


def order(state: Conversation) -> dict[str, Any]:
    number = state.get("order_id")
    if number is None:
        return {"reply": "Which order is it about? The number has four digits."}
    found = ORDERS.get(number)
    if found is None:
        return {"reply": f"I cannot find an order {number}. Is the number right?"}
    return {"reply": f"Order {number} ({found['item']}) is {found['status']}, {found['date']}."}


def human(state: Conversation) -> dict[str, Any]:
    """Ask a colleague. Nothing stands before `interrupt`: the node begins anew when the answer is there."""
    answer = interrupt({"question": f"A customer needs you: {_last(state)}", "order": state.get("order_id")})
    return {"reply": answer["answer"] if isinstance(answer, dict) else str(answer)}


def refund(state: Conversation) -> Command[Literal["approve", "tone"]]:
    """Propose what is paid back; nothing is, before a person has said so."""
    number = state.get("order_id")
    if number is None or number not in ORDERS:
        return Command(goto="tone", update={"reply": "Which order is it about? The number has four digits."})
    if paid := state.get("refunds", {}).get(number):
        return Command(goto="tone", update={"reply": f"We have paid back {euros(paid)} for order {number}."})
    return Command(goto="approve", update={"proposal": Refund(order=number, cents=ORDERS[number]["cents"])})


def approve(state: Conversation) -> Command[Literal["pay", "tone"]]:
    """Ask a person, who may change the amount. Nothing stands before it: the node begins anew with the answer."""
    proposal, text = state["proposal"], _last(state)
    order, amount = proposal["order"], euros(proposal["cents"])
    reasons = [{"code": "money", "text": f"{amount} leave the company"}]
    if any(word in text.lower() for word in ANGRY):
        reasons.append({"code": "angry", "text": f"the customer is angry: {text}"})
    decision = outlast.escalate(
        f"May {amount} be paid back for order {order} ({ORDERS[order]['item']})?", reasons=reasons, subject=proposal,
        allowed=("approve", "edit", "reject"), deadline=ANSWER_WITHIN, default="reject",
    )  # fmt: skip
    if decision["decision"] == "reject":
        reply = decision.get("message") or "We cannot pay this back; a colleague will write to you."
        return Command(goto="tone", update={"reply": reply})
    # Only the amount is the person's to change.
    approved = decision["value"] if decision["decision"] == "edit" else proposal
    return Command(goto="pay", update={"proposal": Refund(order=order, cents=int(approved["cents"]))})


async def pay(state: Conversation) -> dict[str, Any]:
    """Pay exactly what was approved. A step of its own, so that the approval is saved before any money moves."""
    order, cents = state["proposal"]["order"], state["proposal"]["cents"]
    await pay_back(order, cents)
    reply = f"We are sorry. {euros(cents)} for order {order} are on their way back to you."
    return {"refunds": {**state.get("refunds", {}), order: cents}, "reply": reply}


# The receiver honours keys, so when nobody knows whether it was applied the same call can be made again.
@outlast.effect(on_unknown="retry", key_ttl=24 * 3600)
async def pay_back(order: str, cents: int, *, idempotency_key: str = "") -> None:
    """Pay back, once for each key."""
    paid = {"order": order, "cents": cents}
    if PAYMENTS_URL is None:
        await asyncio.to_thread(_book, idempotency_key, json.dumps(paid))
        return
    async with httpx.AsyncClient(base_url=PAYMENTS_URL, timeout=20) as client:
        answer = await client.post("/refunds", json=paid, headers={"Idempotency-Key": idempotency_key})
        answer.raise_for_status()


def _book(key: str, paid: str) -> None:
    folder = Path(os.environ.get("SUPPORT_REFUNDS", HERE / "refunds"))
    folder.mkdir(exist_ok=True)
    # The key is the name: the same refund is the same file, however often it is written.
    (folder / f"{key}.json").write_text(paid, encoding="utf-8")


def euros(cents: int) -> str:
    return f"{cents / 100:.2f} EUR"


async def tone(state: Conversation) -> dict[str, Any]:
    """Say it the way we speak to customers."""
    reply = state["reply"]
    model = chat_model()
    if model is not None and state["intent"] not in ("human", "refund"):
        reply = str((await model.ainvoke(f"Say this to a customer, kindly and in one sentence: {reply}")).text)
    elif len(state["messages"]) == 1:
        reply = f"Thank you for writing. {reply}"
    return {"messages": [AIMessage(reply)]}


def _last(state: Conversation) -> str:
    return str(state["messages"][-1].text)


def _faq(text: str) -> str | None:
    return next((answer for words, answer in FAQ.items() if any(word in text for word in words)), None)


def chat_model() -> Any:
    """Return a chat model if there is a key and LangChain for it."""
    for key, name in (("ANTHROPIC_API_KEY", "anthropic:claude-haiku-4-5"), ("OPENAI_API_KEY", "openai:gpt-4o-mini")):
        if os.environ.get(key):
            try:
                from langchain.chat_models import init_chat_model  # noqa: PLC0415 - only with a key

                return init_chat_model(os.environ.get("OUTLAST_EXAMPLE_MODEL", name))
            except ImportError:
                return None
    return None


support = StateGraph(Conversation)
support.add_node("triage", triage)
for answering in (faq, order, human, pay):
    support.add_node(answering.__name__, answering)
    support.add_edge(answering.__name__, "tone")
support.add_node("refund", refund)
support.add_node("approve", approve)
support.add_node("tone", tone)
support.add_edge(START, "triage")
support.add_conditional_edges("triage", lambda state: state["intent"], ["faq", "order", "human", "refund"])
support.add_edge("tone", END)
