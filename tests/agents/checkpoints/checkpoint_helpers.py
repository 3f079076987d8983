"""Checkpoints by hand, graphs to run, and a look at what is in the tables."""

import operator
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Annotated, Any, TypedDict
from uuid import UUID

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple, empty_checkpoint
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from psycopg import AsyncConnection, sql

from outlast.agents.checkpoints.cache import BlobCache, KnownCheckpoints
from outlast.agents.checkpoints.nodes import ListReference, references, unpack
from outlast.agents.checkpoints.reading import Body
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.storage.postgres.checkpoints import StoredCheckpoint, thread_key

Where = dict[str, Any]


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def at(thread: str, checkpoint_id: str | None = None, ns: str = "") -> RunnableConfig:
    configurable: dict[str, Any] = {"thread_id": thread, "checkpoint_ns": ns}
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}


def metadata(step: int = 0, **more: Any) -> CheckpointMetadata:
    return {"source": "loop", "step": step, "parents": {}, **more}  # type: ignore[typeddict-item]


async def put(
    saver: Checkpointer, config: RunnableConfig, values: dict[str, Any], *, step: int = 0, **more: Any
) -> RunnableConfig:
    """Store a checkpoint with these channel values as the child of `config`, all of its channels new."""
    versions: dict[str, Any] = dict.fromkeys(values, step + 1)
    checkpoint: Checkpoint = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}
    return await saver.aput(config, checkpoint, metadata(step, **more), versions)


async def values(saver: Checkpointer, config: RunnableConfig) -> dict[str, Any]:
    found = await saver.aget_tuple(config)
    assert found is not None
    return found.checkpoint["channel_values"]


def stranger(saver: Checkpointer) -> Checkpointer:
    """A saver that remembers nothing, on the same connections."""
    other = copy(saver)
    other._known = KnownCheckpoints()
    other._blobs = BlobCache(max_bytes=0)
    return other


def id_of(config: RunnableConfig | CheckpointTuple) -> str:
    return (config.config if isinstance(config, CheckpointTuple) else config)["configurable"]["checkpoint_id"]


async def line(saver: Checkpointer, thread: str) -> list[str]:
    """The ids from the head to the root."""
    ids: list[str] = []
    found = await saver.aget_tuple(at(thread))
    while found is not None:
        ids.append(id_of(found))
        found = await saver.aget_tuple(found.parent_config) if found.parent_config else None
    return ids


def steps_graph(saver: Checkpointer, *names: str, graph_state: Any = Log) -> Any:
    """A graph that logs the name of each of its nodes, one after the other."""
    builder = StateGraph(graph_state)
    before = START
    for name in names:
        builder.add_node(name, lambda _state, name=name: {"log": [name]})
        builder.add_edge(before, name)
        before = name
    builder.add_edge(before, END)
    return builder.compile(checkpointer=saver)


# --- the tables ------------------------------------------------------------------------------------------------------

CHECKPOINT_TABLES = (
    "checkpoint_heads", "checkpoints", "checkpoint_blobs", "checkpoint_lists", "checkpoint_writes"
)  # fmt: skip


async def rows(where: str | AsyncConnection[Any], statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Execute a statement at a URL, or on a connection that `connected` has opened."""
    if isinstance(where, str):
        async with connected(where) as connection:
            return await rows(connection, statement, *parameters)
    cursor = await where.execute(statement.encode(), parameters or None)
    return await cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(
        url, autocommit=True, options="-c search_path=outlast -c outlast.tenant=default"
    ) as connection:
        yield connection


async def tables(url: str) -> list[str]:
    found = await rows(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'outlast' ORDER BY 1")
    return [name for (name,) in found]


async def counts(url: str, thread: str) -> dict[str, int]:
    """Rows of a thread in each table of the schema that has a thread key."""
    keyed = await rows(
        url,
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'outlast' AND column_name = 'thread_key' ORDER BY 1",
    )
    key = UUID(bytes=thread_key(thread))
    count = sql.SQL("SELECT count(*) FROM {} WHERE thread_key = %s")
    return {table: (await rows(url, count.format(sql.Identifier(table)).as_string(), key))[0][0] for (table,) in keyed}


async def dump(url: str) -> str:
    """Every column of every row of the schema as text, bytea both as hex and as the bytes it holds."""
    parts: list[str] = []
    for table in await tables(url):
        for row in await rows(url, sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)).as_string()):
            for value in row:
                parts.append(str(value))
                if isinstance(value, bytes):
                    parts.append(value.decode("latin-1"))
    return "\n".join(parts)


async def stored_bytes(url: str) -> int:
    """The bytes of all checkpoint rows as they are stored (compressed, without page overhead)."""
    total = 0
    for table in CHECKPOINT_TABLES:
        found = await rows(url, f"SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {table} t")
        total += int(found[0][0])
    return total


async def broken_or_left_over(url: str) -> list[str]:
    """What is wrong with the references of all threads: something missing, or stored and not referred to."""
    problems: list[str] = []
    async with connected(url) as connection:
        for (key,) in await rows(connection, "SELECT DISTINCT thread_key FROM checkpoint_heads"):
            problems += await _check_thread(connection, key)
        for table in ("checkpoints", "checkpoint_lists"):
            query = f"SELECT count(*) FROM {table} WHERE thread_key NOT IN (SELECT thread_key FROM checkpoint_heads)"
            problems += [f"{table}: rows of a thread without heads"] if (await rows(connection, query))[0][0] else []
    return problems


async def _check_thread(connection: AsyncConnection[Any], key: UUID) -> list[str]:
    problems: list[str] = []
    used, lengths, ids = await _checkpoint_references(connection, key)
    for ns, head in await rows(connection, "SELECT ns, checkpoint_id FROM checkpoint_heads WHERE thread_key = %s", key):
        problems += [] if (ns, head) in ids else [f"head {head} of {ns!r} does not exist"]
    for (body,) in await rows(connection, "SELECT body FROM checkpoint_writes WHERE thread_key = %s", key):
        used.update(references(unpack(body, path="writes")))
    stored_lengths: dict[int, int] = {}
    lists = "SELECT list_id, start, length, items FROM checkpoint_lists WHERE thread_key = %s ORDER BY 1, 2"
    for list_id, start, length, items in await rows(connection, lists, key):
        nodes = unpack(items, path="list")
        if len(nodes) != length or start != stored_lengths.get(list_id, 0):
            problems.append(f"list {list_id}: segment at {start} does not fit")
        if start >= lengths.get(list_id, 0):
            problems.append(f"list {list_id}: segment at {start} is left over")
        stored_lengths[list_id] = start + length
        used.update(references(nodes))
    for list_id, length in lengths.items():
        if stored_lengths.get(list_id, 0) < length:
            problems.append(f"list {list_id}: items after {stored_lengths.get(list_id, 0)} are missing")
    blobs = await rows(connection, "SELECT hash FROM checkpoint_blobs WHERE thread_key = %s", key)
    stored = {hashed.bytes for (hashed,) in blobs}
    problems += [f"blob {hashed.hex()} is missing" for hashed in used - stored]
    return problems + [f"blob {hashed.hex()} is left over" for hashed in stored - used]


async def _checkpoint_references(
    connection: AsyncConnection[Any], key: UUID
) -> tuple[set[bytes], dict[int, int], set[tuple[str, UUID]]]:
    used: set[bytes] = set()
    lengths: dict[int, int] = {}
    ids: set[tuple[str, UUID]] = set()
    select = "SELECT ns, checkpoint_id, body FROM checkpoints WHERE thread_key = %s"
    for ns, checkpoint_id, body in await rows(connection, select, key):
        ids.add((ns, checkpoint_id))
        stored = StoredCheckpoint(
            thread_key=key.bytes, ns=ns, checkpoint_id=checkpoint_id, parent_id=None, metadata={}, body=body
        )
        for node in Body.unpack(stored).nodes.values():
            used.update(references(node))
            if isinstance(node, ListReference):
                lengths[node.list_id] = max(node.length, lengths.get(node.list_id, 0))
    return used, lengths, ids


def contents(messages: Sequence[Any]) -> list[str]:
    return [message.content for message in messages]
