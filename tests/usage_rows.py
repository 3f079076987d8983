"""Rows of `call_usage` as the call log stores them, for tests that only read them."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool


async def insert_usage(pool: Pool, **given: Any) -> UUID:
    """Store one try of a call; returns the id of the call."""
    thread_id = given.pop("thread_id", "thread")
    row: dict[str, Any] = {
        "call_id": uuid4(), "try": 1, "run_id": uuid4(), "thread_key": UUID(bytes=thread_key(thread_id)),
        "tenant": "default", "user_id": None, "agent": "agent", "provider": "openai", "model": "gpt-4o",
        "input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 0, "cache_write_tokens": 0,
        "reasoning_tokens": 0, "cost_micros": 350, "outcome": "answered", "seconds": 0.5,
    } | given  # fmt: skip
    row.setdefault("lineage", row["run_id"])
    columns = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    async with pool.connection() as connection:
        await connection.execute(f"INSERT INTO call_usage ({columns}) VALUES ({values})".encode(), row)
    return row["call_id"]


async def insert_thread(pool: Pool, thread_id: str, metadata: str = "{}") -> None:
    """Store the thread that usage is of."""
    key = UUID(bytes=thread_key(thread_id))
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO threads (key, thread_id) VALUES (%s, %s)", [key, thread_id])
        await connection.execute(
            "INSERT INTO thread_details (thread_key, metadata) VALUES (%s, %s::jsonb)", [key, metadata]
        )


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
