"""`outlast dev`: everything comes up with it, goes on when a worker dies, and is gone with it."""

import os
import signal

import pytest
from outlast_command import Running, alive, make_project, running
from waiting import wait_until

from outlast.storage.postgres import embedded_watchdog as watchdog

pytestmark = pytest.mark.processes


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def ready(dev: Running) -> int:
    """Wait until its worker has registered; return the worker's pid."""
    dev.find("worker started")
    (pid,) = dev.workers()
    return pid


def database_is_stopped(project):
    folder = project / ".outlast" / "postgres"
    return not watchdog.is_locked(folder / "server.lock") and not watchdog.is_locked(folder / "watchdog.lock")


def test_a_project_without_a_database_is_served_and_ends_with_ctrl_c(project):
    with running("dev", "--port", 0, cwd=project) as dev:
        worker = ready(dev)
        run_id = dev.start_run("steady", steps=3)
        assert dev.wait_for_status(run_id, "succeeded", "failed")["output"] == {"total": 3, "pid": worker}
        for told in ("private PostgreSQL", "steady", str(worker), "curl http://", "Ctrl-C"):
            assert told in dev.text

        dev.interrupt()

        assert dev.process.wait(30) == 0
        assert "worker stopped, its runs are handed back" in dev.text
        assert "restarted" not in dev.text
        assert not alive(worker)
        wait_until(lambda: database_is_stopped(project), 20, "the database still runs")


def test_a_killed_dev_leaves_no_process_behind(project):
    with running("dev", "--port", 0, "--workers", 2, cwd=project) as dev:
        wait_until(lambda: dev.text.count("worker started") == 2, 60, "no two workers")
        first, second = dev.workers()

        dev.process.kill()
        dev.process.wait()

        wait_until(lambda: not alive(first) and not alive(second), 10, "the workers outlived it")
        wait_until(lambda: database_is_stopped(project), 20, "the database outlived it")


def test_a_killed_worker_is_replaced_and_its_run_goes_on(project, database_url):
    (project / "hold").touch()
    with running("dev", "--port", 0, cwd=project, DATABASE_URL=database_url) as dev:
        worker = ready(dev)
        run_id = dev.start_run("steady", steps=2)
        wait_until(lambda: ("step-0", worker) in dev.notes(), message="the run did not start")

        os.kill(worker, signal.SIGKILL)
        said = dev.find(r"worker (\d+) died \(signal 9\); restarted as (\d+), its 1 run goes on")
        (project / "hold").unlink()

        output = dev.wait_for_status(run_id, "succeeded")["output"]
        assert output == {"total": 1, "pid": int(said[2])}
        assert said[1] == str(worker)


def test_a_drained_run_goes_on_with_the_next_dev(project, database_url):
    (project / "hold").touch()
    with running("dev", "--port", 0, cwd=project, DATABASE_URL=database_url, OUTLAST_WORKER__DRAIN="PT6S") as dev:
        worker = ready(dev)
        run_id = dev.start_run("steady", steps=2)
        wait_until(lambda: ("step-0", worker) in dev.notes(), message="the run did not start")
        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(30) == 0
    (project / "hold").unlink()

    with running("dev", "--port", 0, cwd=project, DATABASE_URL=database_url) as dev:
        run = dev.wait_for_status(run_id, "succeeded")
        assert run["attempts"] == {"errors": 0, "crashes": 0}
        assert [text for text, _ in dev.notes()] == ["step-0", "step-1"], "a saved step was executed again"


def test_the_second_signal_ends_everything_at_once(project, database_url):
    with running("dev", "--port", 0, cwd=project, DATABASE_URL=database_url) as dev:
        worker = ready(dev)
        dev.start_run("stubborn")
        wait_until(lambda: ("stubborn", worker) in dev.notes(), message="the run did not start")

        dev.interrupt()
        dev.find("once more to stop now")
        assert alive(worker)
        dev.interrupt()

        assert dev.process.wait(5) == 128 + signal.SIGINT
        wait_until(lambda: not alive(worker), 5, "the worker outlived it")
