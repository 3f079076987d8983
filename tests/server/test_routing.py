"""Which route a request meets first."""

from outlast.server.routes import ROUTERS

PATHS = [route.path for router in ROUTERS for route in router.routes]  # pyright: ignore[reportAttributeAccessIssue]


def test_what_starts_a_run_is_found_early():
    begins = ("/agent/start", "/threads/{thread_id}/runs", "/threads/{thread_id}/runs/stream", "/runs/wait")
    assert max(PATHS.index(path) for path in begins) < len(PATHS) // 2


def test_a_cron_is_not_taken_for_a_run():
    assert PATHS.index("/runs/crons/{cron_id}") < PATHS.index("/runs/{run_id}/stream")
    assert PATHS.index("/threads/{thread_id}/runs/crons") < PATHS.index("/threads/{thread_id}/runs/{run_id}")
