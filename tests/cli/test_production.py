"""`outlast serve` and `outlast worker`: two programs that share nothing but the database."""

import signal

import pytest
from outlast_command import make_project, running

from waiting import wait_until

pytestmark = pytest.mark.processes


def test_api_and_worker_work_together_and_stop_when_told(tmp_path, database_url):
    project = make_project(tmp_path)
    with (
        running("serve", "--port", 0, cwd=project, DATABASE_URL=database_url) as api,
        running("worker", "--concurrency", 2, cwd=project, DATABASE_URL=database_url) as worker,
    ):
        worker.find("worker started")
        run = api.wait_for_status(api.start_run("steady"), "succeeded")
        assert run["output"]["pid"] == worker.process.pid
        assert api.call("/health")["status"] == "ok"

        stuck = api.start_run("stubborn")
        wait_until(lambda: ("stubborn", worker.process.pid) in worker.notes(), message="the run did not start")
        worker.process.send_signal(signal.SIGTERM)
        worker.find("steps in progress may end")
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(5) == 128 + signal.SIGINT
        assert api.run(stuck)["status"] in {"running", "queued"}

        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(20) == 0
