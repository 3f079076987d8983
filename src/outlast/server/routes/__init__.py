"""One file per resource: its routes, and what they take and give."""

from outlast.server.routes import (
    audit,
    budgets,
    chat,
    dead_letters,
    erasures,
    health,
    inbox,
    keys,
    recovery,
    runs,
    switches,
    threads,
    usage,
)
from outlast.server.routes.agent_server import (
    assistants,
    commands,
    crons,
    feedback,
    protocol_events,
    run_results,
    run_stream,
    store,
    system,
    thread_state,
    thread_stream,
)
from outlast.server.routes.agent_server import runs as agent_runs
from outlast.server.routes.agent_server import threads as agent_threads

# Each request goes through these routes one by one, so what starts and follows runs comes early. Crons come before the
# runs: `/runs/crons/{cron_id}` looks like a run's address, too.
ROUTERS = (
    runs.router,
    crons.router,
    agent_runs.router,
    run_results.router,
    run_stream.router,
    thread_stream.router,
    commands.router,
    protocol_events.router,
    agent_threads.router,
    thread_state.router,
    threads.router,
    chat.router,
    assistants.router,
    store.router,
    feedback.router,
    usage.router,
    switches.router,
    inbox.router,
    budgets.router,
    dead_letters.router,
    recovery.router,
    keys.router,
    erasures.router,
    audit.router,
    health.router,
    system.router,
)
