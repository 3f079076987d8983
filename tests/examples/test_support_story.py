"""The whole story of the support example, in processes that are all killed twice, its database's among them.

An angry customer wants money back; the agent asks a person; everything is killed; the person approves with an edit;
everything is killed again while the money moves; the refund happens once, with the edited amount; and the conversation
goes on as if nothing had been. Who counts is outside: the receiver of the payments.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from effect_receiver import EffectReceiver, receiving
from outlast_command import running

from waiting import wait_until

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "support"
# A dead worker's runs are somebody else's as soon as that is certain.
QUICK = {"OUTLAST_WORKER__LEASE": "PT2S", "OUTLAST_WORKER__HEARTBEAT": "PT0.3S", "OUTLAST_RECOVERY__SCAN": "PT0.1S"}
ANGRY = "My grinder came broken, this is outrageous! I want my money back for order 1001!"


class Processes:
    """All that `outlast dev` starts in a folder: its server, its worker, its PostgreSQL."""

    def __init__(self, project: Path, payments: str) -> None:
        self.project = project
        self._payments = payments

    @contextmanager
    def started(self) -> Iterator[httpx.Client]:
        settings = {**QUICK, "SUPPORT_PAYMENTS_URL": self._payments}
        with running("dev", "--port", 0, cwd=self.project, **settings) as dev:
            dev.find("worker started")
            with httpx.Client(base_url=dev.url, timeout=30, trust_env=False) as api:
                yield api
            self._kill()

    def _kill(self) -> None:
        """Kill -9 whatever works in the folder, until nothing does."""
        # Asked before the first one dies: the kernel ends some of them with their parent.
        commands = [" ".join(process.cmdline()) for process in self._living()]
        for part in ("outlast dev", "worker", "postgres"):
            assert any(part in command for command in commands), f"no {part} among {commands}"

        def all_dead() -> bool:
            living = list(self._living())
            for process in living:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return not living

        wait_until(all_dead, 20, f"processes in {self.project} do not die")

    def _living(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                here = Path(process.cwd()).is_relative_to(self.project)
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    yield process


def say(api: httpx.Client, text: str) -> dict:
    answer = api.post("/chat", json={"user_id": "anna", "session_id": "s1", "message": text})
    assert answer.status_code == 200, answer.text
    return answer.json()


def told(processes: Processes, payments: EffectReceiver, loop: asyncio.AbstractEventLoop) -> None:
    with processes.started() as api:
        assert "delivered" in say(api, "Where is my order 1001?")["reply"]
        asked = say(api, ANGRY)
        assert (asked["reply"], asked["awaiting_human_input"]) == (None, True)

    with processes.started() as api:
        [line] = api.get("/inbox").json()
        question = api.get(f"/inbox/{line['id']}").json()
        assert (question["kind"], question["agent"], question["run_id"]) == ("escalation", "support", asked["task_id"])
        assert [reason["code"] for reason in question["reasons"]] == ["money", "angry"]
        assert (question["subject"], question["default"]) == ({"order": "1001", "cents": 8900}, {"decision": "reject"})

        # The money moves, and nobody hears of it any more.
        payments.fates.append("hold")
        edited = {"decision": "edit", "value": {"order": "1001", "cents": 4500}, "hash": question["hash"]}
        assert api.post(f"/inbox/{line['id']}/answer", json=edited).status_code == 200
        second = api.post(f"/inbox/{line['id']}/answer", json={"decision": "reject"})
        assert (second.status_code, second.json()["code"]) == (409, "already_answered")
        wait_until(payments.held.is_set, 20, "the refund was not sent")
    loop.call_soon_threadsafe(payments.release.set)

    with processes.started() as api:
        paid = api.get(f"/agent/status/{asked['task_id']}", params={"wait": 20}).json()
        assert paid["status"] == "succeeded", paid
        after = say(api, "When do I have my money?")
        conversation = api.get(f"/agent/status/{after['task_id']}").json()["output"]["messages"]
        assert api.get("/inbox").json() == []

    assert after["reply"] == "We have paid back 45.00 EUR for order 1001."
    assert [message["content"] for message in conversation] == [
        "Where is my order 1001?",
        "Thank you for writing. Order 1001 (coffee grinder) is delivered, 3 March.",
        ANGRY,
        "We are sorry. 45.00 EUR for order 1001 are on their way back to you.",
        "When do I have my money?",
        after["reply"],
    ]


async def test_an_angry_customer_gets_what_a_person_approved_once_although_everything_is_killed_twice(tmp_path):
    project = tmp_path / "support"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns(".outlast", "refunds", "__pycache__"))
    async with receiving() as payments:
        await asyncio.to_thread(told, Processes(project.resolve(), payments.url), payments, asyncio.get_running_loop())

    assert len(payments.keys) > 1, "it was sent again"
    assert len(set(payments.keys)) == 1, "under the same key"
    assert list(payments.applied.values()) == [1]
    assert [answer["of"] for answer in payments.answers.values()] == [{"order": "1001", "cents": 4500}]
