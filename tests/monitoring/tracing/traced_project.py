"""A project of the traced agents, and runtimes of it whose spans go to a receiver of the test."""

import json
import shutil
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from outlast.agents.project import Project, find_project
from outlast.settings import DatabaseSettings, RetrySettings, ServerSettings, Settings, WebhookSettings, WorkerSettings

#: What users and models say, and no trace by itself.
SECRET = "the number of my card is 4111"
AGENTS = ("whole", "fork", "asking", "failing", "dying")


def project_in(directory: Path, *, report_to: int = 443) -> Project:
    """The project, whose runs may report to this port."""
    here = Path(__file__).with_name("traced_agents.py")
    shutil.copy(here, directory / here.name)
    described = {
        "dependencies": ["."],
        "graphs": {name: f"./{here.name}:{name}" for name in AGENTS},
        "webhooks": {"url": {"allowed_ports": [report_to]}},
    }
    (directory / "langgraph.json").write_text(json.dumps(described))
    return find_project(directory)


def settings_of(url: str, **more: Any) -> Settings:
    return Settings(
        database=DatabaseSettings(url=url, pool_size=4),
        server=ServerSettings(wait=timedelta(seconds=10)),
        retry=RetrySettings(base=timedelta(milliseconds=10), max_attempts=2),
        worker=WorkerSettings(poll=timedelta(milliseconds=100), drain=timedelta(seconds=1)),
        webhooks=WebhookSettings(networks=(ip_network("127.0.0.0/8"),), poll=timedelta(milliseconds=50)),
        **more,
    )
