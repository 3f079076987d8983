"""What real processes count together: exactly, whoever of them is killed."""

import os
import re
import signal
import urllib.request

import pytest
from outlast_command import Running, make_project, outlast, running

from waiting import wait_until

pytestmark = pytest.mark.processes

SETTINGS = "[worker]\nconcurrency = 4\nheartbeat = 0.3\nlease = 2\n"
RUNS = 12


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path, settings=SETTINGS)


def scraped(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def total(figures: dict[str, float], name: str) -> float:
    return sum(value for series, value in figures.items() if re.fullmatch(rf"{name}(\{{.*\}})?", series))


def steadily(dev: Running, runs: int) -> list[str]:
    return [dev.start_run("steady", steps=2) for _ in range(runs)]


def test_dev_counts_exactly_what_its_api_and_its_workers_do_when_one_of_them_is_killed(project, database_url):
    (project / "hold").touch()
    with running("dev", "--port", 0, "--workers", 2, cwd=project, DATABASE_URL=database_url) as dev:
        wait_until(lambda: dev.text.count("worker started") == 2, 60, "no two workers")
        ids = steadily(dev, RUNS)
        # Eight at a time, on two workers.
        wait_until(lambda: len({pid for _, pid in dev.notes()}) == 2, 30, "not both of them work")
        victim = dev.workers()[0]
        os.kill(victim, signal.SIGKILL)
        dev.find(rf"worker {victim} died")
        (project / "hold").unlink()
        for run_id in ids:
            dev.wait_for_status(run_id, "succeeded")

        success = 'agent_tasks_total{agent_name="steady",status="success"}'
        wait_until(lambda: scraped(dev.url).get(success) == RUNS, 10, "not all of them are counted")
        figures = scraped(dev.url)

        crashes = sum(dev.run(run_id)["attempts"]["crashes"] for run_id in ids)
        assert crashes >= 1
        assert figures["outlast_claims_total"] == RUNS + crashes, "what the dead one had claimed is counted, too"
        assert figures["outlast_runs_recovered_total"] == crashes
        assert figures["outlast_recovery_seconds_count"] == crashes
        assert figures['agent_latency_seconds_count{agent_name="steady"}'] == RUNS
        assert total(figures, "agent_tasks_total") == RUNS
        started = 'outlast_http_requests_total{method="POST",route="/agent/start",status="2xx"}'
        assert figures[started] == RUNS
        shared = project / ".outlast" / "metrics" / str(dev.process.pid)
        assert not list(shared.glob(f"*_{victim}.db")), "the gauges of the dead are gone"

        dev.interrupt()
        assert dev.process.wait(30) == 0
        assert not shared.exists()


def test_a_worker_shows_its_own_figures_and_shares_them_where_that_is_set(project, database_url):
    assert outlast("db", "migrate", cwd=project, DATABASE_URL=database_url).returncode == 0
    together = {"DATABASE_URL": database_url, "OUTLAST_METRICS__DIRECTORY": "counted"}
    with (
        running("worker", cwd=project, OUTLAST_METRICS__LISTEN="127.0.0.1:0", **together) as worker,
        running("serve", "--port", 0, cwd=project, **together) as api,
    ):
        address = worker.find(r"metrics at (http://127\.0\.0\.1:\d+)/metrics")[1]
        run_id = api.start_run("steady")
        api.wait_for_status(run_id, "succeeded")

        success = 'agent_tasks_total{agent_name="steady",status="success"}'
        for url in (address, api.url):
            wait_until(lambda url=url: scraped(url).get(success) == 1, 10, f"{url} does not show it")
        assert not [name for name in scraped(address) if name.startswith("outlast_runs{")], (
            "what the database knows is shown by APIs alone"
        )
        assert scraped(api.url)['outlast_runs{status="running"}'] == 0
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/other", timeout=10)

        worker.process.terminate()
        assert worker.process.wait(30) == 0
        assert scraped(api.url)[success] == 1, "it is counted when the worker has gone"
