"""A question taken through the whole chain of calls, without a graph around it."""

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from outlast.calls.building import fingerprint
from outlast.calls.call import Answer, ModelCall, Target
from outlast.calls.deadline import Deadline
from outlast.calls.scope import Scope
from outlast.calls.services import Calls

if TYPE_CHECKING:
    from outlast.testing.providers import ProviderServer


def openai(provider: "ProviderServer", model: str = "gpt-4o", *, api_key: str = "test", **options: Any) -> Target:
    from langchain_openai import ChatOpenAI  # a second that processes without it need not spend

    chat = ChatOpenAI(model=model, base_url=provider.openai_url, api_key=api_key, max_retries=0, **options)
    return target_of(chat, model)


def target_of(chat: BaseChatModel, model: str, provider: str = "openai") -> Target:
    return Target(provider=provider, model=model, key=fingerprint(chat), chat=chat)


def question(calls: Calls, *targets: Target, text: str = "hello", seconds: float = 600, **fields: Any) -> ModelCall:
    fields = {"messages": [HumanMessage(text)], **fields}
    return ModelCall(targets=targets, deadline=Deadline.after(seconds), calls=calls, **fields)


async def ask(calls: Calls, *targets: Target, **fields: Any) -> Answer:
    return await calls.answer(question(calls, *targets, **fields))


def said(answer: Answer) -> str:
    return str(answer.result.generations[0].message.content)


def scope_of(calls: Calls, *, tenant: str = "default", run_id: UUID | None = None) -> Scope:
    """A run as far as layers without a journal look at it."""

    async def settled() -> None:
        return None

    run = run_id or uuid4()
    return Scope(
        calls=calls, run_id=run, epoch=1, lineage=run, thread_id="t", thread_key=bytes(16), agent="a", tenant=tenant,
        fresh=True, locate=lambda: None, settled=settled, ask=lambda asked: asked,
    )  # fmt: skip
