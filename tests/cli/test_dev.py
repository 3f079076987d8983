"""`outlast dev`: everything comes up with it, goes on when a worker dies, and is gone with it."""

import os
import signal

import psycopg
import pytest
from outlast_command import Running, alive, make_project, outlast, running

from outlast.storage.postgres import embedded_watchdog as watchdog
from waiting import wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def ready(dev: Running) -> int:
    """Wait until its worker has registered; return the worker's pid."""
    dev.find("worker started")
    (pid,) = dev.workers()
    return pid


def wait_until_a_step_is_saved(url):
    # A task returns before its result is in the database, and one that is killed in between is rightly executed again.
    with psycopg.connect(url, autocommit=True, options="-c outlast.tenant=default") as connection:
        saved = "SELECT FROM outlast.checkpoint_writes LIMIT 1"
        wait_until(lambda: connection.execute(saved).fetchone() is not None, message="the step was not saved")


def database_is_stopped(project):
    folder = project / ".outlast" / "postgres"
    return not watchdog.is_locked(folder / "server.lock") and not watchdog.is_locked(folder / "watchdog.lock")


def test_ctrl_c_stops_everything_in_order_and_runs_go_on_the_next_time(project):
    (project / "hold").touch()
    # Five of the seconds are kept for what does not stop by itself, as this run.
    with running("dev", "--port", 0, cwd=project, OUTLAST_WORKER__DRAIN="PT5.2S") as dev:
        worker = ready(dev)
        run_id = dev.start_run("steady", steps=2)
        wait_until(lambda: ("step-0", worker) in dev.notes(), message="the run did not start")
        dev.find("Ctrl-C")
        wait_until_a_step_is_saved(outlast("db", "url", cwd=project).stdout.strip())
        for told in ("private PostgreSQL", "steady", str(worker), "curl http://"):
            assert told in dev.text

        dev.interrupt()

        assert dev.process.wait(30) == 0
        assert "worker stopped, its runs are handed back" in dev.text
        assert "restarted" not in dev.text
        assert not alive(worker)
        wait_until(lambda: database_is_stopped(project), 20, "the database still runs")

    (project / "hold").unlink()
    with running("dev", "--port", 0, cwd=project) as dev:
        run = dev.wait_for_status(run_id, "succeeded")
        assert run["attempts"] == {"errors": 0, "crashes": 0}
        assert [text for text, _ in dev.notes()] == ["step-0", "step-1"], "a saved step was executed again"


def test_a_killed_dev_leaves_no_process_behind(project):
    with running("dev", "--port", 0, "--workers", 2, cwd=project) as dev:
        wait_until(lambda: dev.text.count("worker started") == 2, 60, "no two workers")
        first, second = dev.workers()

        dev.process.kill()
        dev.process.wait()

        wait_until(lambda: not alive(first) and not alive(second), 10, "the workers outlived it")
        wait_until(lambda: database_is_stopped(project), 20, "the database outlived it")


def test_a_killed_worker_is_replaced_and_the_second_signal_stops_at_once(project, database_url):
    (project / "hold").touch()
    with running("dev", "--port", 0, cwd=project, DATABASE_URL=database_url) as dev:
        worker = ready(dev)
        run_id = dev.start_run("steady", steps=2)
        wait_until(lambda: ("step-0", worker) in dev.notes(), message="the run did not start")
        wait_until_a_step_is_saved(database_url)

        os.kill(worker, signal.SIGKILL)
        said = dev.find(r"worker (\d+) died \(signal 9\); restarted as (\d+), its 1 run goes on")
        (project / "hold").unlink()

        assert said[1] == str(worker)
        output = dev.wait_for_status(run_id, "succeeded")["output"]
        assert output == {"total": 1, "pid": int(said[2])}
        assert [text for text, _ in dev.notes()] == ["step-0", "step-1"], "a saved step was executed again"

        dev.start_run("stubborn")
        wait_until(lambda: ("stubborn", int(said[2])) in dev.notes(), message="the run did not start")
        dev.interrupt()
        dev.find("once more to stop now")
        assert alive(int(said[2]))
        dev.interrupt()

        assert dev.process.wait(5) == 128 + signal.SIGINT
        wait_until(lambda: not alive(int(said[2])), 5, "the worker outlived it")


def test_in_process_one_process_does_everything_and_hands_its_runs_back(project, database_url):
    (project / "hold").touch()
    with running("dev", "--port", 0, "--in-process", cwd=project, DATABASE_URL=database_url) as dev:
        dev.find("worker started")
        run_id = dev.start_run("steady", steps=2)
        wait_until(lambda: dev.notes() == [("step-0", dev.process.pid)], message="the run did not start")
        wait_until_a_step_is_saved(database_url)
        assert dev.workers() == []

        dev.interrupt()

        assert dev.process.wait(30) == 0
        assert "worker stopped, its runs are handed back" in dev.text

    (project / "hold").unlink()
    with running("dev", "--port", 0, "--in-process", cwd=project, DATABASE_URL=database_url) as dev:
        run = dev.wait_for_status(run_id, "succeeded")
        assert run["output"] == {"total": 1, "pid": dev.process.pid}
        assert [text for text, _ in dev.notes()] == ["step-0", "step-1"], "a saved step was executed again"


def test_workers_and_in_process_exclude_each_other(project):
    told = outlast("dev", "--workers", 2, "--in-process", cwd=project)

    assert told.returncode == 2
    assert "either --workers or --in-process" in told.stderr
