"""A real Prometheus with the shipped rules, that scrapes real processes."""

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from monitored import RULES, SHIPPED, program, run

from waiting import wait_until


class Prometheus:
    """Asks it."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api

    def query(self, text: str) -> list[dict[str, Any]]:
        answer = self._api.get("/api/v1/query", params={"query": text}).json()
        assert answer["status"] == "success", f"{text}: {answer}"
        return answer["data"]["result"]

    def shows(self, text: str) -> bool:
        """Whether the query returns a number: a share of nothing is none."""
        return any(math.isfinite(float(series["value"][1])) for series in self.query(text))

    def rules(self) -> list[dict[str, Any]]:
        groups = self._api.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def watching(folder: Path, api: str, *workers: str) -> Iterator[Prometheus]:
    """Start one with the shipped configuration, but for the addresses and a much shorter interval."""
    config = yaml.safe_load((SHIPPED / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms", "scrape_timeout": "450ms"}
    config["alerting"] = {}
    jobs = {job["job_name"]: job["static_configs"][0] for job in config["scrape_configs"]}
    jobs["outlast-api"]["targets"] = [api.removeprefix("http://")]
    jobs["outlast-workers"]["targets"] = [re.search(r"//([^/]+)/", worker)[1] for worker in workers]
    (folder / "rules").mkdir(parents=True)
    for file in RULES:
        shutil.copy(file, folder / "rules")
    (folder / "prometheus.yml").write_text(json.dumps(config))
    run("promtool", "check", "config", folder / "prometheus.yml")
    with _listening(folder) as client:
        yield Prometheus(client)


@contextmanager
def _listening(folder: Path) -> Iterator[httpx.Client]:
    """Start it in the folder, and wait until it is ready."""
    log = folder / "log"
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=info")
    command = [program("prometheus"), "--web.listen-address=127.0.0.1:0", *options]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=_url(log, process), timeout=30, trust_env=False) as client:
            wait_until(lambda: client.get("/-/ready").status_code == httpx.codes.OK, 30, "Prometheus is not ready")
            yield client
    finally:
        process.kill()
        process.wait()


def _url(log: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where it listens: it was free to choose."""

    def found() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r'msg="Listening on".*address=(?:\[::\]|127\.0\.0\.1):(\d+)', log.read_text())

    wait_until(found, 30, "Prometheus does not listen")
    return f"http://127.0.0.1:{found()[1]}"
