"""A support conversation: triage -> faq | order | human -> tone.

What must not be answered by a machine alone (money back, anger, anything it does not understand) becomes a question to
a colleague: `interrupt()` ends the run's turn, the run waits in the database for minutes or days, and goes on with the
answer in whatever process. Without a model the rules below decide and write; with a key in the environment one does.
"""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

ORDERS: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "orders.json").read_text(encoding="utf-8"))
FAQ = {
    ("open", "hours"): "We are there from Monday to Friday, 9:00 to 17:00.",
    ("ship", "deliver", "long"): "Orders arrive within two to four working days.",
    ("return", "exchange"): "You can return anything within 30 days; the label is in the parcel.",
    ("pay", "card", "invoice"): "We take cards, PayPal and bank transfer.",
}
SENSITIVE = ("refund", "money back", "complain", "lawyer", "broken", "damaged", "angry", "person", "human", "agent")
SURE = 0.6

Intent = Literal["faq", "order", "human"]


class Conversation(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    intent: Intent
    confidence: float
    # Kept from turn to turn: "when will it arrive?" is about the order of the turn before.
    order_id: str
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
    """Classify by keywords; sensitive words always win."""
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


async def tone(state: Conversation) -> dict[str, Any]:
    """Say it the way we speak to customers."""
    reply = state["reply"]
    model = chat_model()
    if model is not None and state["intent"] != "human":
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
for answering in (faq, order, human):
    support.add_node(answering.__name__, answering)
    support.add_edge(answering.__name__, "tone")
support.add_node("tone", tone)
support.add_edge(START, "triage")
support.add_conditional_edges("triage", lambda state: state["intent"], ["faq", "order", "human"])
support.add_edge("tone", END)
