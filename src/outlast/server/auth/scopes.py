"""Which scope each route needs: the one table, and what is not in it is refused.

A route is named by its method and by its path as it is declared; a WebSocket's method is WS. Writing does not include
reading, so what starts something and returns what it did counts as writing. Beside it stands what depends on the body:
answering a question needs `inbox:answer` wherever it is done (`runs_api`, `COMMANDS`), and whoever hands out a key
needs what the key is for.
"""

import re
from collections.abc import Mapping
from typing import Final

from outlast.domain.access import ADMIN, require_scope

#: For anybody, without credentials: tells nothing of what is stored, or the address itself is the permission.
PUBLIC: Final = "public"
#: For whoever is known, with whatever scopes.
AUTHENTICATED: Final = "authenticated"
WEBSOCKET: Final = "WS"

NEEDS: Final[Mapping[str, str]] = {
    # Asked by what watches the process, which has no credentials.
    "GET /ok": PUBLIC,
    "GET /health": PUBLIC,
    "GET /health/live": PUBLIC,
    "GET /health/ready": PUBLIC,
    # Signed for one run and one key.
    "POST /runs/{run_id}/feedback/{token}": PUBLIC,
    "GET /info": AUTHENTICATED,
    "GET /docs": AUTHENTICATED,
    "GET /openapi.json": AUTHENTICATED,
    "HEAD /openapi.json": AUTHENTICATED,
    "GET /metrics": "metrics:read",
    "GET /slo": "metrics:read",
    "GET /anomalies": "metrics:read",
    "GET /usage": "usage:read",
    "GET /alerts": "metrics:read",
    # Plain routes.
    "POST /agent/start": "runs:write",
    "POST /agent/run": "runs:write",
    "POST /agent/cancel/{task_id}": "runs:write",
    "GET /agent/status/{task_id}": "runs:read",
    "POST /agent/answer/{task_id}": "inbox:answer",
    "GET /agent/state/{thread_id:path}": "threads:read",
    "POST /chat": "runs:write",
    # Runs.
    "POST /threads/{thread_id}/runs": "runs:write",
    "POST /threads/{thread_id}/runs/stream": "runs:write",
    "POST /threads/{thread_id}/runs/wait": "runs:write",
    "POST /threads/{thread_id}/runs/{run_id}/cancel": "runs:write",
    "DELETE /threads/{thread_id}/runs/{run_id}": "runs:write",
    "GET /threads/{thread_id}/runs": "runs:read",
    "GET /threads/{thread_id}/runs/{run_id}": "runs:read",
    "GET /threads/{thread_id}/runs/{run_id}/join": "runs:read",
    "GET /threads/{thread_id}/runs/{run_id}/stream": "runs:read",
    "POST /runs": "runs:write",
    "POST /runs/batch": "runs:write",
    "POST /runs/cancel": "runs:write",
    "POST /runs/stream": "runs:write",
    "POST /runs/wait": "runs:write",
    "GET /runs/{run_id}/stream": "runs:read",
    # Threads.
    "POST /threads": "threads:write",
    "POST /threads/search": "threads:read",
    "POST /threads/count": "threads:read",
    "POST /threads/prune": "threads:write",
    "GET /threads/{thread_id}": "threads:read",
    "PATCH /threads/{thread_id}": "threads:write",
    "DELETE /threads/{thread_id}": "threads:write",
    "POST /threads/{thread_id}/copy": "threads:write",
    "GET /threads/{thread_id}/storage": "threads:read",
    # With `content` also runs:read and inbox:read; entries of the audit log for admin.
    "GET /threads/{thread_id}/story": "threads:read",
    "GET /threads/{thread_id}/state": "threads:read",
    "POST /threads/{thread_id}/state": "threads:write",
    "PATCH /threads/{thread_id}/state": "threads:write",
    "GET /threads/{thread_id}/state/{checkpoint_id}": "threads:read",
    "POST /threads/{thread_id}/state/checkpoint": "threads:read",
    "GET /threads/{thread_id}/history": "threads:read",
    "POST /threads/{thread_id}/history": "threads:read",
    "GET /threads/{thread_id}/stream": "threads:read",
    "POST /threads/{thread_id}/stream/events": "threads:read",
    "WS /threads/{thread_id}/stream/events": "threads:read",
    # By command: see COMMANDS.
    "POST /threads/{thread_id}/commands": AUTHENTICATED,
    # Assistants.
    "POST /assistants": "assistants:write",
    "POST /assistants/search": "assistants:read",
    "POST /assistants/count": "assistants:read",
    "GET /assistants/{assistant_id}": "assistants:read",
    "PATCH /assistants/{assistant_id}": "assistants:write",
    "DELETE /assistants/{assistant_id}": "assistants:write",
    "POST /assistants/{assistant_id}/versions": "assistants:read",
    "POST /assistants/{assistant_id}/latest": "assistants:write",
    "GET /assistants/{assistant_id}/graph": "assistants:read",
    "GET /assistants/{assistant_id}/schemas": "assistants:read",
    "GET /assistants/{assistant_id}/subgraphs": "assistants:read",
    "GET /assistants/{assistant_id}/subgraphs/{namespace}": "assistants:read",
    # Crons: whoever may write them may let runs start.
    "POST /runs/crons": "crons:write",
    "POST /threads/{thread_id}/runs/crons": "crons:write",
    "POST /runs/crons/search": "crons:read",
    "POST /runs/crons/count": "crons:read",
    "GET /runs/crons/{cron_id}": "crons:read",
    "PATCH /runs/crons/{cron_id}": "crons:write",
    "DELETE /runs/crons/{cron_id}": "crons:write",
    # The store.
    "PUT /store/items": "store:write",
    "GET /store/items": "store:read",
    "DELETE /store/items": "store:write",
    "POST /store/items/search": "store:read",
    "POST /store/namespaces": "store:read",
    # The inbox.
    "GET /inbox": "inbox:read",
    "GET /inbox/{question_id}": "inbox:read",
    "POST /inbox/{question_id}/answer": "inbox:answer",
    "POST /inbox/{question_id}/assign": "inbox:answer",
    "POST /inbox/{question_id}/comments": "inbox:answer",
    # Dead letters, and what stands still.
    "GET /dlq": "dlq:read",
    "GET /dlq/classes": "dlq:read",
    "GET /dlq/{letter_id}": "dlq:read",
    "POST /dlq/replay": "dlq:write",
    "POST /dlq/{letter_id}/replay": "dlq:write",
    "POST /dlq/{letter_id}/again": "dlq:write",
    "POST /dlq/{letter_id}/discard": "dlq:write",
    "GET /recovery/stuck": "dlq:read",
    "GET /recovery/stuck/{thread_id:path}": "dlq:read",
    "POST /recovery/run": "dlq:write",
    "GET /recovery/checkpoints": "dlq:read",
    "POST /recovery/checkpoints/cleanup": "dlq:write",
    # Budgets.
    "GET /budgets": "budgets:read",
    "GET /budgets/{name}": "budgets:read",
    "PUT /budgets/{name}": "budgets:write",
    "DELETE /budgets/{name}": "budgets:write",
    "POST /budgets/{name}/raise": "budgets:write",
    # What is kept of people and of decisions.
    "POST /erasures": ADMIN,
    "GET /erasures": ADMIN,
    "GET /erasures/{erasure_id}": ADMIN,
    "POST /exports": ADMIN,
    "GET /audit": ADMIN,
    "POST /audit/verification": ADMIN,
    # Kill switches.
    "GET /switches": ADMIN,
    "PUT /switches/tenant": ADMIN,
    "DELETE /switches/tenant": ADMIN,
    "PUT /switches/{kind}/{name}": ADMIN,
    "DELETE /switches/{kind}/{name}": ADMIN,
    # Keys.
    "GET /keys": "keys:admin",
    "POST /keys": "keys:admin",
    "DELETE /keys/{key_id}": "keys:admin",
    "POST /keys/{key_id}/rotate": "keys:admin",
}

#: Which scope each command of the thread-centred protocol needs, over HTTP and over a WebSocket.
COMMANDS: Final[Mapping[str, str]] = {
    "run.start": "runs:write",
    "state.fork": "runs:write",
    "input.respond": "inbox:answer",
    "input.inject": "runs:write",
    "agent.getTree": "runs:read",
    "state.get": "threads:read",
    "state.listCheckpoints": "threads:read",
    "subscription.reconnect": "threads:read",
}


def require_command(method: str) -> None:
    """Raise Forbidden when the principal of this context may not give this command; for one that nobody knows, too."""
    require_scope(COMMANDS.get(method, "admin"))


def _pattern(path: str) -> str:
    parts = re.split(r"(\{[^}]*\})", path)
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)


#: What the addresses look like that are for anybody.
OPEN: Final = re.compile(
    "|".join(_pattern(route.partition(" ")[2]) for route, scope in NEEDS.items() if scope == PUBLIC)
)
