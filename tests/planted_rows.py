"""One row of somebody's in every table that can hold something of theirs, with a canary in each of its texts."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.items import path_of
from outlast.storage.postgres.pool import Pool

Connection = AsyncConnection[Any]
NOON, EVENING = "2026-01-01 12:00+00", "2026-01-01 18:00+00"


async def plant(pool: Pool, *, user: str, thread_id: str, canary: str, status: str = "succeeded") -> UUID:
    """Store them; returns the id of the run."""
    run, key = uuid4(), UUID(bytes=thread_key(thread_id))
    data, doc, task = canary.encode(), {"said": canary}, uuid4()
    ended = status not in {"queued", "waiting", "running"}
    worker = uuid4() if status == "running" else None
    checkpoint = {"thread_key": key, "ns": "", "checkpoint_id": uuid4()}
    written = {**checkpoint, "task_id": b"task", "idx": 0, "count": 1, "epoch": 1, "task_path": canary, "body": data}
    assistant, cron, told, question = uuid4(), uuid4(), uuid4(), uuid4()
    rows: list[tuple[str, dict[str, Any]]] = [
        ("threads", {"key": key, "thread_id": thread_id}),
        ("runs", {"id": run, "thread_key": key, "agent": "support", "status": status, "worker_id": worker, "epoch": 1}),
        ("run_details", {
            "run_id": run, "input": data, "config": Jsonb(doc), "metadata": Jsonb(doc), "output": data,
            "interrupts": Jsonb([doc]), "answer": data, "error_message": canary, "user_id": user, "options": data,
            "webhook": f"https://example.org/{canary}", "cancel_reason": canary, "lineage": run,
            "discarded_by": user, "discard_reason": canary,
        }),
        ("run_attempts", {
            "run_id": run, "epoch": 1, "kind": "error", "error_code": "KeyError", "error_message": canary,
        }),
        ("run_history", {"run_id": run, "epoch": 1, "event": "waited"}),
        ("thread_details", {
            "thread_key": key, "metadata": Jsonb(doc), "values": Jsonb(doc), "interrupts": Jsonb({"a": [doc]}),
            "error": Jsonb(doc),
        }),
        ("thread_watches", {"thread_key": key, "until": "2099-01-01"}),
        ("checkpoints", {**checkpoint, "metadata": Jsonb(doc), "body": data, "run_id": str(run)}),
        ("checkpoint_heads", checkpoint),
        ("checkpoint_writes", written),
        ("checkpoint_lists", {"thread_key": key, "list_id": 1, "start": 0, "length": 1, "items": data}),
        ("checkpoint_blobs", {"thread_key": key, "hash": uuid4(), "data": data}),
        ("writes_before", {**written, "run_id": run}),
        ("call_journal", {
            "lineage": run, "task": task, "series": "model", "ordinal": 0, "hash": uuid4(), "run_id": run, "epoch": 1,
            "errors": 0, "execution": 1, "body": data,
        }),
        *(("effects", {
            "key": uuid4().hex * 2, "lineage": run, "task": task, "name": "send", "ordinal": ordinal,
            "business_key": business_key, "tenant": "default", "agent": "support", "thread_key": key,
            "args_hash": uuid4(), "arguments": data, "state": "done", "ended_at": "2026-01-01", "body": data,
            "error": canary, "answer": data, "run_id": run, "epoch": 1, "errors": 0, "execution": 1,
        }) for ordinal, business_key in ((0, None), (None, canary))),
        ("effect_questions", {
            "lineage": run, "task": task, "position": 0, "key": canary, "calls": 1, "thread_key": key,
        }),
        ("questions", {
            "id": question, "run_id": run, "thread_key": key, "agent": "support", "epoch": 1, "interrupt_id": "a" * 32,
            "kind": "interrupt", "value": data, "hash": "0" * 64, "allowed": ["approve"], "requester": user,
            "assignee": user, "status": "answered", "decision": "approve", "answered_by": user,
            "answered_at": "2026-01-01", "answer": data,
        }),
        ("question_notes", {
            "id": uuid4(), "question_id": question, "kind": "comment", "author": user, "body": data,
        }),
        ("reviews", {
            "thread_key": key, "lineage": run, "position": 1, "run_id": run, "epoch": 1, "checkpoint_id": uuid4(),
            "action": "repair", "body": data,
        }),
        ("input_prints", {"agent": "support", "print": run.int >> 70, "lineage": run}),
        ("run_events", {"thread_key": key, "pos": 1, "run_id": run, "mode": "values", "ns": "", "data": data}),
        ("notifications", {
            "id": told, "key": f"failed:{run}:1", "event": "failed", "run_id": run, "agent": "support",
            "kind": "KeyError",
        }),
        ("notification_messages", {"id": told, "channel": "ops", "key": f"run:{run}"}),
        ("notification_items", {"notification_id": told, "channel": "ops", "message_id": told}),
        ("run_feedback", {"run_id": run, "key": canary, "value": data, "comment": canary}),
        ("idempotency_keys", {
            "tenant": "default", "route": "/runs", "key": canary, "body_hash": b"hash", "run_id": run,
        }),
        ("webhook_deliveries", {
            "run_id": run, "epoch": 1, "url": f"https://example.org/{canary}", "last_error": canary,
        }),
        ("assistants", {
            "id": assistant, "graph_id": "support", "name": canary, "description": canary, "config": Jsonb(doc),
            "context": Jsonb(doc), "metadata": Jsonb({"owner": user, **doc}),
        }),
        ("assistant_versions", {
            "assistant_id": assistant, "version": 1, "graph_id": "support", "name": canary, "config": Jsonb(doc),
            "context": Jsonb(doc), "metadata": Jsonb(doc),
        }),
        ("crons", {
            "id": cron, "assistant_id": assistant, "user_id": user, "schedule": "* * * * *", "payload": data,
            "template": data, "metadata": Jsonb(doc),
        }),
        ("store_items", {"path": path_of(("users", user)), "key": canary, "value": Jsonb(doc)}),
        ("store_vectors", {"path": path_of(("users", user)), "key": canary, "part": 0, "embedding": [0.5]}),
        ("call_cache", {"key": uuid4().bytes, "body": data, "expires_at": "2099-01-01"}),
        ("call_usage", _usage(run, key, user)),
        ("run_observations", {
            "run_id": run, "epoch": 1, "agent": "support", "status": "success", "seconds": 1.5, "output_print": 7,
            "input_print": run.int >> 70,
        }),
        ("anomaly_baselines", {"agent": "support", "model": f"gpt-{run.int % 10**9}", "state": Jsonb({}), "runs": 1}),
        ("anomalies", {
            "agent": "support", "model": "gpt-4o", "kind": "length", "run_id": run, "severity": "warning",
            "text": "length 41 against a median of 1,830 over 200 runs", "ended_at": "2026-01-01", "ended_as": "normal",
        }),
        ("usage_days", _usage_day(canary, user)),
        ("usage_days", _usage_day(canary, None)),
        ("api_keys", {
            "key_id": uuid4().hex[:12], "user_id": user, "name": canary, "scopes": ["runs:read"],
            "secret_sha256": b"s" * 32,
        }),
        ("api_keys", {
            "key_id": uuid4().hex[:12], "name": "the job's", "scopes": ["runs:read"], "secret_sha256": b"s" * 32,
            "created_by": user,
        }),
        ("admission_decisions", {
            "id": uuid4(), "agent": "support", "user_id": user, "thread_id": thread_id, "verdict": "refuse",
            "reason": canary,
        }),
        ("budgets", {
            "name": f"of {canary}", "per": "user", "span": "day", "limit_micros": 1, "soft_percent": 80,
            "on_limit": "ask", "user_id": user,
        }),
        *(("budget_counters", {"name": f"{per} of {canary}", "subject": subject, "period": "2026-01-01", "per": per})
          for per, subject in (("user", user), ("thread", thread_id), ("run", str(run)))),
        ("budget_reservations", {
            "id": uuid4(), "name": "user", "subject": user, "period": "2026-01-01", "run_id": run, "epoch": 1,
            "micros": 1, "tokens": 1,
        }),
        ("switches", {"kind": "tool", "name": canary, "reason": "was wrong", "off_by": user}),
        ("alerts", {
            "rule": "error_rate", "subject": "agent=support", "severity": "error", "state": "resolved",
            "text": "half of the runs failed", "started_at": NOON, "fired_at": NOON, "resolved_at": NOON,
            "acknowledged_at": NOON, "acknowledged_by": user,
        }),
        ("alert_signals", {"name": "budget_stops", "subject": "daily", "minute": datetime.now(UTC), "count": 1}),
        ("alert_silences", {"rule": "error_rate", "why": "is known", "silenced_by": user, "began_at": NOON,
                           "until_at": EVENING}),
    ]  # fmt: skip
    async with pool.transaction() as connection:
        for table, row in rows:
            await insert(
                connection, table, {**row, **({"ended_at": "2026-01-01"} if table == "runs" and ended else {})}
            )
    return run


def _usage(run: UUID, key: UUID, user: str) -> dict[str, Any]:
    figures = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    return {
        "call_id": uuid4(), "try": 1, "run_id": run, "lineage": run, "thread_key": key, "tenant": "default",
        "user_id": user, "agent": "support", "provider": "openai", "model": "gpt-4o", "cost_micros": 350,
        "outcome": "answered", "seconds": 0.5, **dict.fromkeys(figures, 10),
    }  # fmt: skip


def _usage_day(agent: str, user: str | None) -> dict[str, Any]:
    figures = (
        "calls", "cached", "failed", "unpriced", "input_tokens", "output_tokens", "cache_read_tokens",
        "cache_write_tokens", "reasoning_tokens", "cost_micros", "saved_micros",
    )  # fmt: skip
    return {
        "day": "2026-01-01", "tenant": "default", "user_id": user, "agent": agent, "provider": "openai",
        "model": "gpt-4o", **dict.fromkeys(figures, 7),
    }  # fmt: skip


async def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    columns = ", ".join(f'"{name}"' for name in row)
    values = ", ".join(f"%({name})s" for name in row)
    await connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})".encode(), row)


async def tables(pool: Pool) -> list[str]:
    """Return the tables of the schema, as the catalogue knows them."""
    async with pool.transaction() as connection:
        cursor = await connection.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = 'outlast' AND table_type = 'BASE TABLE' ORDER BY 1"
        )
        return [name for (name,) in await cursor.fetchall()]


async def holding(pool: Pool, *texts: str) -> dict[str, int]:
    """Return in how many rows of which tables one of the texts stands, in whatever column and form."""
    forms = [form for text in texts for form in (text, text.encode().hex())]
    found: dict[str, int] = {}
    for table in await tables(pool):
        async with pool.transaction() as connection:
            cursor = await connection.execute(
                f"SELECT count(*) FROM {table} AS t WHERE EXISTS"
                " (SELECT FROM unnest(%(forms)s::text[]) AS f (form) WHERE strpos(t::text, f.form) > 0)".encode(),
                {"forms": forms},
            )
            [count] = await cursor.fetchone() or [0]
        if count:
            found[table] = count
    return found
