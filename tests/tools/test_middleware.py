"""What a model reads of its tools: failures, cut results, and nothing that it must not see."""

import asyncio
import threading
from typing import Annotated, Any

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained, GraphInterrupt, NodeCancelledError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

import outlast
from outlast import errors, telemetry
from outlast.calls.history import INTERRUPTED
from scripted_models import Scripted, calling, results

GO = {"messages": [HumanMessage("go")]}


@tool
async def lookup(q: str = "") -> str:
    """Look something up."""
    raise RAISES[0]


RAISES: list[BaseException] = [ValueError()]


async def told(error: BaseException, **options: Any) -> ToolMessage:
    RAISES[:] = [error]
    model = Scripted.saying(calling("lookup", q="x"))
    agent = create_agent(model, [lookup], middleware=[outlast.middleware(**options)])
    (result,) = results((await agent.ainvoke(GO))["messages"])
    return result


# errors


@pytest.mark.parametrize(
    ("error", "content"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (KeyError("name"), "KeyError: 'name'"),
        (RuntimeError(), "RuntimeError"),
        (ExceptionGroup("both", [ValueError("a")]), "ExceptionGroup: both (1 sub-exception)"),
        (errors.NotFound("page", "x"), "NotFound: there is no page 'x'"),
        (errors.NotApplied("card declined"), "NotApplied: card declined"),
    ],
    ids=["message", "key", "bare", "group", "ours-not-found", "not-applied"],
)
async def test_an_exception_becomes_a_result_that_the_model_can_read(error, content):
    result = await told(error)
    assert (result.content, result.status, result.name, result.tool_call_id) == (content, "error", "lookup", "lookup-0")


@pytest.mark.parametrize(
    "error",
    [
        errors.LeaseLost(run_id="r", epoch=1),
        errors.DatabaseUnavailable("away"),
        errors.CapReached(cap="turns", used=3, limit=2),
        errors.BlockingCall("invoke"),
        errors.EffectUnknown(name="pay", key="k"),
        errors.EffectMismatch(name="pay", key="k"),
        errors.ProviderUnavailable("away", model="m", kind="network"),
        errors.ProviderUnauthorized("key", model="m", kind="unauthorized"),
        GraphDrained("shutdown"),
        MemoryError(),
        ExceptionGroup("tasks", [ValueError(), ExceptionGroup("more", [errors.LeaseLost(run_id="r", epoch=1)])]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_about_the_run_passes_on(error):
    expected = errors.LeaseLost if isinstance(error, ExceptionGroup) else type(error)
    with pytest.raises(expected):
        await told(error)


async def test_a_cancellation_passes_on():
    # LangGraph's word for a task that was cancelled without anybody asking for it.
    with pytest.raises(NodeCancelledError):
        await told(asyncio.CancelledError())


async def test_an_interrupt_asks_a_person_and_the_answer_goes_on():
    @tool
    def ask() -> str:
        """Ask."""
        return f"they said {interrupt('sure?')}"

    agent = create_agent(
        Scripted.saying(calling("ask")), [ask], middleware=[outlast.middleware()], checkpointer=InMemorySaver()
    )
    config: Any = {"configurable": {"thread_id": "1"}}

    asked = await agent.ainvoke(GO, config)
    answered = await agent.ainvoke(Command(resume="yes"), config)

    assert [item.value for item in asked["__interrupt__"]] == ["sure?"]
    assert results(answered["messages"])[0].content == "they said yes"


async def test_wrong_arguments_are_told_as_langgraph_tells_them():
    @tool
    def double(number: int) -> int:
        """Double it."""
        return number * 2

    model = Scripted.saying(calling("double", number="many"), calling("double", number=4), calling("nowhere"))
    agent = create_agent(model, [double], middleware=[outlast.middleware(reads={"double"})])

    said = results((await agent.ainvoke(GO))["messages"])

    assert "number: Input should be a valid integer" in said[0].content
    assert said[1].content == "8"
    assert "nowhere is not a valid tool" in said[2].content


SECRETS = [
    "postgresql://app:hunter22@db/app",
    "https://token-of-mine@api.example.com/x",
    "https://api.example.com/x?api_key=abcd1234efgh&q=1",
    "{'Authorization': 'Bearer abcdef1234567890'}",
    "password=hunter22",
    'headers {"x-api-key": "abcd1234efgh"}',
    "Incorrect API key provided: sk-proj-abcd1234efgh5678",
    "ghp_abcdefghijklmnopqrstuvwxyz123456 is no longer valid",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
]
GIVEN_AWAY = (
    "hunter22", "token-of-mine", "abcd1234", "abcdef1234", "abcdefghij", "AKIAABC", "eyJzdWI", "c2lnbmF0", "MIIEow"
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
async def test_no_secret_reaches_the_model(secret):
    result = await told(RuntimeError(f"failed for {secret} at once"))

    assert result.content.startswith("RuntimeError: failed for")
    assert "***" in result.content
    assert not [word for word in GIVEN_AWAY if word in result.content]


@pytest.mark.parametrize(
    "text",
    ["unexpected tokens in line 3", "secretary not found", "see https://example.com/a@b?page=2", "the key is missing"],
)
async def test_what_is_no_secret_stays(text):
    assert (await told(RuntimeError(text))).content == f"RuntimeError: {text}"


async def test_no_stack_and_no_endless_message_reaches_the_model():
    stack = 'Traceback (most recent call last):\n  File "/home/me/app.py", line 3\nOSError: disk full'
    assert (await told(RuntimeError(stack))).content == "RuntimeError: OSError: disk full"
    assert (await told(RuntimeError(f"worker died\n{stack}"))).content == "RuntimeError: worker died"
    assert len((await told(RuntimeError("x" * 10_000_000))).content) < 600


# retries, times


def failing(times: int, error: Exception) -> tuple[Any, list[int]]:
    tries: list[int] = []

    @tool
    async def search(q: str) -> str:
        """Search."""
        tries.append(1)
        if len(tries) <= times:
            raise error
        return "found"

    return search, tries


async def search_with(search: Any, **options: Any) -> str:
    model = Scripted.saying(calling("search", q="x"))
    agent = create_agent(model, [search], middleware=[outlast.middleware(**options)])
    return results((await agent.ainvoke(GO))["messages"])[0].content


async def test_a_tool_that_only_reads_is_tried_again():
    search, tries = failing(2, OSError("reset"))
    assert await search_with(search, reads={"search"}) == "found"
    assert len(tries) == 3


async def test_a_tool_says_itself_that_it_only_reads():
    search, tries = failing(1, OSError("reset"))
    search.metadata = {"outlast": "read"}
    assert await search_with(search) == "found"
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({}, OSError("reset"), 1),
        ({"reads": {"search"}, "read_tries": 2}, OSError("reset"), 2),
        ({"reads": {"search"}}, TypeError("bug"), 1),
        ({"reads": {"search"}}, ValueError("bad query"), 1),
        ({"reads": {"other"}}, OSError("reset"), 1),
    ],
    ids=["not-a-read", "as-often-as-said", "bug", "bad-arguments", "another-tool"],
)
async def test_a_tool_is_called_no_more_often_than_that_helps(options, error, expected):
    search, tries = failing(10, error)
    assert await search_with(search, **options) == f"{type(error).__name__}: {error}"
    assert len(tries) == expected


def test_a_read_is_tried_again_where_the_graph_is_called_synchronously():
    tries: list[int] = []

    @tool
    def search(q: str) -> str:
        """Search."""
        tries.append(1)
        if len(tries) < 3:
            raise OSError("reset")
        return "found"

    agent = create_agent(
        Scripted.saying(calling("search", q="x")), [search], middleware=[outlast.middleware(reads={"search"})]
    )
    assert results(agent.invoke(GO)["messages"])[0].content == "found"


@pytest.mark.parametrize("limit", [0.05, {"slow": 0.05}], ids=["all", "by-name"])
async def test_a_tool_that_takes_too_long_is_stopped_and_the_model_told(limit):
    stopped = asyncio.Event()

    @tool
    async def slow() -> str:
        """Take long."""
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    agent = create_agent(Scripted.saying(calling("slow")), [slow], middleware=[outlast.middleware(timeout=limit)])
    (result,) = results((await agent.ainvoke(GO))["messages"])

    assert "slow took longer than 0.05 s and was stopped" in result.content
    assert result.status == "error"
    assert stopped.is_set()


def test_a_sync_tool_that_takes_too_long_is_waited_for_no_more():
    gate = threading.Event()

    @tool
    def slow() -> str:
        """Take long."""
        gate.wait(30)
        return ""

    agent = create_agent(Scripted.saying(calling("slow")), [slow], middleware=[outlast.middleware(timeout=0.05)])
    try:
        assert "slow took longer than 0.05 s" in results(agent.invoke(GO)["messages"])[0].content
    finally:
        gate.set()


async def test_a_timeout_of_the_tools_own_is_told_as_its_own():
    assert (await told(TimeoutError("upstream"), timeout=30)).content == "TimeoutError: upstream"


async def test_a_tool_without_a_limit_may_take_its_time():
    @tool
    async def slow() -> str:
        """Take a little."""
        await asyncio.sleep(0.1)
        return "there"

    guard = outlast.middleware(timeout={"slow": None})
    agent = create_agent(Scripted.saying(calling("slow")), [slow], middleware=[guard])
    assert results((await agent.ainvoke(GO))["messages"])[0].content == "there"


# size


async def result_of(content: Any, limit: int) -> ToolMessage:
    @tool
    def read(call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Read."""
        return ToolMessage(content, tool_call_id=call_id, artifact={"whole": content})

    agent = create_agent(
        Scripted.saying(calling("read")), [read], middleware=[outlast.middleware(max_result_bytes=limit)]
    )
    return results((await agent.ainvoke(GO))["messages"])[0]


async def test_a_result_that_is_too_long_is_cut_and_says_how_much():
    text = f"begin {'é' * 5000} end"
    heard: list[Any] = []
    forget = telemetry.subscribe(lambda point, fields: heard.append(fields) if point == "tool.cut" else None)
    try:
        result = await result_of(text, 1000)
    finally:
        forget()

    assert len(result.content.encode()) <= 1000
    assert result.content.startswith("begin é")
    assert result.content.endswith("é end")
    assert "of 10,010 bytes were cut out here" in result.content
    assert result.artifact == {"whole": text}, "what the model does not see stays whole"
    assert [(one["tool"], one["bytes"], one["limit_bytes"]) for one in heard] == [("read", 10_010, 1000)]


async def test_blocks_that_do_not_fit_are_left_out_and_counted():
    image = {"type": "image", "base64": "A" * 5000, "mime_type": "image/png"}
    blocks = [
        {"type": "text", "text": "first"},
        image,
        {"type": "text", "text": "t" * 5000},
        {"type": "text", "text": "l"},
    ]

    result = await result_of(blocks, 1000)

    assert result.content[0] == blocks[0]
    assert "bytes were cut out here" in result.content[1]["text"]
    assert result.content[-1]["text"].startswith("[2 blocks with 5,0")
    assert len(str(result.content)) < 1300


@pytest.mark.parametrize("content", ["short", [{"type": "text", "text": "b"}], ""], ids=["text", "blocks", "none"])
async def test_a_result_that_fits_stays_as_it_is(content):
    assert (await result_of(content, 1000)).content == content


async def test_a_result_within_a_command_is_cut_too():
    @tool
    def read(call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Read."""
        return Command(update={"messages": [ToolMessage("x" * 5000, tool_call_id=call_id)]})

    agent = create_agent(
        Scripted.saying(calling("read")), [read], middleware=[outlast.middleware(max_result_bytes=500)]
    )
    (result,) = results((await agent.ainvoke(GO))["messages"])
    assert len(result.content) <= 500


# a ToolNode of one's own


async def test_it_plugs_into_a_tool_node():
    search, tries = failing(1, OSError("reset"))
    node = ToolNode([search, lookup], **outlast.middleware(reads={"search"}).hooks)
    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    graph = builder.compile()
    RAISES[:] = [ValueError("password=hunter22")]

    state = await graph.ainvoke({"messages": [calling("search", "lookup", q="x")]})
    assert [message.content for message in results(state["messages"])] == ["found", "ValueError: password=***"]
    assert len(tries) == 2

    RAISES[:] = [errors.LeaseLost(run_id="r", epoch=1)]
    with pytest.raises(errors.LeaseLost):
        await graph.ainvoke({"messages": [calling("lookup", q="x")]})

    wrong = await graph.ainvoke({"messages": [calling("search")]})
    assert "q: Field required" in results(wrong["messages"])[0].content


# mistakes of whoever builds the agent


@pytest.mark.parametrize(
    ("options", "message"),
    [({"reads": {"a"}, "effects": {"a"}}, "a: named in `reads` and in `effects`"), ({"reads": "a"}, "names of tools")],
    ids=["both", "text"],
)
def test_rules_that_make_no_sense_are_refused(options, message):
    with pytest.raises(errors.ConfigurationError, match=message):
        outlast.middleware(**options)


async def test_a_tool_that_says_something_else_of_itself_is_refused():
    search, _ = failing(0, OSError())
    search.metadata = {"outlast": "reed"}
    with pytest.raises(errors.ConfigurationError, match="write 'read' or 'effect'"):
        await search_with(search)


# with LangChain's own


@tool
def note(text: str) -> str:
    """Note."""
    return f"noted {text}"


@tool
def breaks(text: str) -> str:
    """Break."""
    raise OSError(text)


def both(ours: Any, theirs: Any) -> list[Any]:
    return [pytest.param([ours, theirs], id="ours-first"), pytest.param([theirs, ours], id="ours-last")]


@pytest.mark.parametrize(
    "middleware", both(outlast.middleware(), ModelCallLimitMiddleware(run_limit=2, exit_behavior="end"))
)
async def test_it_composes_with_the_limit_of_model_calls(middleware):
    model = Scripted.saying(*[calling("breaks", text="x") for _ in range(5)])
    state = await create_agent(model, [breaks], middleware=middleware).ainvoke(GO)
    assert [message.content for message in results(state["messages"])] == ["OSError: x"] * 2
    assert "Model call limits exceeded" in state["messages"][-1].content


@pytest.mark.parametrize(
    "middleware",
    both(
        outlast.middleware(max_result_bytes=400),
        ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=10, keep=1, placeholder="[cleared]")]),
    ),
)
async def test_it_composes_with_the_editing_of_contexts(middleware):
    model = Scripted.saying(*[calling("note", text="x" * 1000) for _ in range(3)])
    state = await create_agent(model, [note], middleware=middleware).ainvoke(
        {"messages": [HumanMessage("go"), calling("note", text="cut off"), HumanMessage("go on")]}
    )
    assert all(len(message.content) <= 400 for message in results(state["messages"]))
    last = results(model.shown[-1])
    assert len(last) == 4, "the call that was cut off has a result as well"
    assert {message.content for message in last[:-1]} <= {"[cleared]", INTERRUPTED}
    assert "[cleared]" in last[2].content


@pytest.mark.parametrize("first", [True, False], ids=["ours-first", "ours-last"])
async def test_it_composes_with_summaries(first):
    summaries = SummarizationMiddleware(Scripted.saying("SUMMARY"), trigger=("messages", 4), keep=("messages", 2))
    middleware = [outlast.middleware(), summaries] if first else [summaries, outlast.middleware()]
    model = Scripted.saying(calling("breaks", text="x"), calling("note", text="y"))
    history = [HumanMessage("one"), calling("note", text="cut off"), HumanMessage("two"), AIMessage("three")]

    state = await create_agent(model, [note, breaks], middleware=middleware).ainvoke(
        {"messages": [*history, HumanMessage("go")]}
    )

    assert state["messages"][-1].content == "done"
    assert any("SUMMARY" in str(message.content) for message in model.shown[0])
    for shown in model.shown:
        calls = [call["id"] for message in shown if message.type == "ai" for call in message.tool_calls]
        assert sorted(calls) == sorted(message.tool_call_id for message in results(shown))


@pytest.mark.parametrize(
    "middleware", both(outlast.middleware(), HumanInTheLoopMiddleware(interrupt_on={"breaks": True}))
)
async def test_it_composes_with_people_who_approve(middleware):
    agent = create_agent(
        Scripted.saying(calling("breaks", text="x"), calling("breaks", text="y")), [breaks], middleware=middleware,
        checkpointer=InMemorySaver(),
    )  # fmt: skip
    config: Any = {"configurable": {"thread_id": "1"}}

    asked = await agent.ainvoke(GO, config)
    assert asked["__interrupt__"]
    asked = await agent.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert results(asked["messages"])[-1].content == "OSError: x"
    state = await agent.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), config)

    assert results(state["messages"])[-1].content.endswith("reason: no")
    assert state["messages"][-1].content == "done"


async def test_a_deep_agent_and_its_subagents_take_it():
    agent = create_deep_agent(
        Scripted.saying(
            calling("task", description="look it up", subagent_type="reader"),
            calling("breaks", text="password=hunter22"),
            "the reader says no",
        ),
        [breaks],
        middleware=[outlast.middleware(timeout={"task": None})],
        subagents=[
            {
                "name": "reader", "description": "Reads.", "system_prompt": "Read.",
                "model": Scripted.saying(calling("note", text="x" * 1000), "nothing there"),
                "tools": [note], "middleware": [outlast.middleware(max_result_bytes=300)],
            }
        ],
    )  # fmt: skip

    state = await agent.ainvoke(GO)

    said = results(state["messages"])
    assert [message.content for message in said] == ["nothing there", "OSError: password=***"]
    assert state["messages"][-1].content == "the reader says no"


# history


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_a_thread_that_was_cut_off_is_mended_for_any_model(sync):
    model = Scripted.saying("hello again")
    agent = create_agent(model, [note], middleware=[outlast.middleware()])
    cut_off = {"messages": [HumanMessage("go"), calling("note", "note", text="x"), HumanMessage("still there?")]}

    state = await asyncio.to_thread(agent.invoke, cut_off) if sync else await agent.ainvoke(cut_off)

    assert [message.type for message in model.shown[0]] == ["human", "ai", "tool", "tool", "human"]
    assert [message.type for message in state["messages"]] == ["human", "ai", "human", "ai"], "the thread stays"


def test_an_interrupt_is_an_error_that_passes_on():
    from outlast.agents.tool_failures import for_the_run

    assert for_the_run(GraphInterrupt(())) is not None
    assert for_the_run(ValueError()) is None
