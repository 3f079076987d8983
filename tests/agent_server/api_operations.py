"""Every operation of the API, and what each needs so that nothing but the caller stands in its way."""

import re
from typing import Any

from fastapi import FastAPI

from outlast.server.auth.scopes import NEEDS
from outlast.server.http_section import OPEN
from outlast.server.routes import ROUTERS

# What each operation needs so that nothing but the caller stands in its way: path -> method -> body.
BODIES: dict[str, dict[str, Any]] = {
    "/assistants": {"post": {"graph_id": "agent", "name": "mine"}},
    "/assistants/search": {"post": {}},
    "/assistants/count": {"post": {}},
    "/assistants/{assistant_id}": {"get": None, "patch": {"name": "new"}, "delete": None},
    "/assistants/{assistant_id}/versions": {"post": {}},
    "/assistants/{assistant_id}/latest": {"post": {"version": 1}},
    "/assistants/{assistant_id}/graph": {"get": None},
    "/assistants/{assistant_id}/schemas": {"get": None},
    "/assistants/{assistant_id}/subgraphs": {"get": None},
    "/assistants/{assistant_id}/subgraphs/{namespace}": {"get": None},
    "/threads": {"post": {}},
    "/threads/search": {"post": {}},
    "/threads/count": {"post": {}},
    "/threads/prune": {"post": {"thread_ids": ["{thread_id}"]}},
    "/threads/{thread_id}": {"get": None, "patch": {"metadata": {"a": 1}}, "delete": None},
    "/threads/{thread_id}/copy": {"post": None},
    "/threads/{thread_id}/storage": {"get": None},
    "/threads/{thread_id}/story": {"get": None},
    "/threads/{thread_id}/state": {
        "get": None,
        "post": {"values": {"messages": []}},
        "patch": {"metadata": {"a": 1}},
    },
    "/threads/{thread_id}/state/{checkpoint_id}": {"get": None},
    "/threads/{thread_id}/state/checkpoint": {"post": {"checkpoint": {"checkpoint_ns": ""}}},
    "/threads/{thread_id}/history": {"get": None, "post": {}},
    "/threads/{thread_id}/stream": {"get": None},
    "/threads/{thread_id}/stream/events": {"post": {"channels": ["values"]}},
    "/threads/{thread_id}/commands": {
        "post": {"id": 1, "method": "run.start", "params": {"assistant_id": "agent", "input": {}}}
    },
    "/threads/{thread_id}/runs": {"get": None, "post": {"assistant_id": "agent", "input": {}}},
    "/threads/{thread_id}/runs/stream": {"post": {"assistant_id": "agent", "input": {}}},
    "/threads/{thread_id}/runs/wait": {"post": {"assistant_id": "agent", "input": {}}},
    "/threads/{thread_id}/runs/crons": {"post": {"assistant_id": "agent", "schedule": "0 0 1 1 *"}},
    "/threads/{thread_id}/runs/{run_id}": {"get": None, "delete": None},
    "/threads/{thread_id}/runs/{run_id}/cancel": {"post": None},
    "/threads/{thread_id}/runs/{run_id}/join": {"get": None},
    "/threads/{thread_id}/runs/{run_id}/stream": {"get": None},
    "/runs": {"post": {"assistant_id": "agent", "input": {}}},
    "/runs/stream": {"post": {"assistant_id": "agent", "input": {}}},
    "/runs/wait": {"post": {"assistant_id": "agent", "input": {}}},
    "/runs/batch": {"post": [{"assistant_id": "agent", "input": {}}]},
    "/runs/cancel": {"post": {"thread_id": "{thread_id}", "run_ids": ["{run_id}"]}},
    "/runs/{run_id}/stream": {"get": None},
    "/runs/crons": {"post": {"assistant_id": "agent", "schedule": "0 0 1 1 *"}},
    "/runs/crons/search": {"post": {}},
    "/runs/crons/count": {"post": {}},
    "/runs/crons/{cron_id}": {"get": None, "patch": {"enabled": False}, "delete": None},
    "/store/items": {
        "put": {"namespace": ["n"], "key": "k", "value": {}},
        "get": None,
        "delete": {"namespace": ["n"], "key": "k"},
    },
    "/store/items/search": {"post": {"namespace_prefix": ["n"]}},
    "/store/namespaces": {"post": {}},
    "/usage": {"get": None},
}  # fmt: skip
#: Of the plain routes, and of those who run the server: the project's handlers are not asked there.
BODIES_OF_OTHERS: dict[str, dict[str, Any]] = {
    "/agent/start": {"post": {"agent": "agent", "input": {}}},
    "/agent/run": {"post": {"agent": "agent", "input": {}}},
    "/agent/status/{task_id}": {"get": None},
    "/agent/cancel/{task_id}": {"post": None},
    "/agent/answer/{task_id}": {"post": {"answer": 1}},
    "/agent/state/{thread_id}": {"get": None},
    "/chat": {"post": {"agent": "agent", "message": "hi"}},
    "/inbox": {"get": None},
    "/inbox/{question_id}": {"get": None},
    "/inbox/{question_id}/answer": {"post": {"decision": "approve"}},
    "/inbox/{question_id}/assign": {"post": {"assignee": None}},
    "/inbox/{question_id}/comments": {"post": {"text": "called him"}},
    "/dlq": {"get": None},
    "/dlq/classes": {"get": None},
    "/dlq/replay": {"post": {"agent": "nobody's"}},
    "/dlq/{letter_id}": {"get": None},
    "/dlq/{letter_id}/replay": {"post": None},
    "/dlq/{letter_id}/again": {"post": {}},
    "/dlq/{letter_id}/discard": {"post": {}},
    "/recovery/stuck": {"get": None},
    "/recovery/stuck/{thread_id}": {"get": None},
    "/recovery/run": {"post": {"agent": "nobody's"}},
    "/recovery/checkpoints": {"get": None},
    "/recovery/checkpoints/cleanup": {"post": {"older_than_days": 1000}},
    "/keys": {"get": None, "post": {"scopes": []}},
    "/keys/{key_id}": {"delete": None},
    "/keys/{key_id}/rotate": {"post": None},
    "/info": {"get": None},
    "/metrics": {"get": None},
}
QUERIES = {"/store/items get": {"namespace": "n", "key": "k"}}
# Of which the project's handlers decide about the resources.
RESOURCES = ("runs", "threads", "assistants", "store", "crons", "usage")
PLAIN = ("/agent/", "/chat")


def operations() -> list[tuple[str, str]]:
    """Every operation that the API describes, and those that are no operation for everybody."""
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    return [(path, method) for path, item in app.openapi()["paths"].items() for method in item]


def guarded_operations() -> list[tuple[str, str]]:
    """Those for which one has to be known."""
    return [(path, method) for path, method in operations() if not OPEN.fullmatch(re.sub(r"\{.*?\}", "x", path))]


def resource_operations() -> list[tuple[str, str]]:
    """Those that the project's handlers are asked about."""
    return [
        (path, method)
        for path, method in guarded_operations()
        if not path.startswith(PLAIN)
        and (path.endswith("/commands") or NEEDS.get(f"{method.upper()} {path}", "").partition(":")[0] in RESOURCES)
    ]


def filled(value: Any, ids: dict[str, str]) -> Any:
    """Return a body with ids in the place of their names."""
    if isinstance(value, str):
        return value.format(**ids) if value.startswith("{") else value
    if isinstance(value, dict):
        return {key: filled(inner, ids) for key, inner in value.items()}
    return [filled(inner, ids) for inner in value] if isinstance(value, list) else value
