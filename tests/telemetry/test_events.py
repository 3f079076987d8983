import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlast import telemetry
from outlast.telemetry import FaultInjected, arm, emit, subscribe


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


@pytest.mark.parametrize(
    ("specification", "said"),
    [
        ("run.clamed:exit", "no fault point 'run.clamed'"),
        ("run.claimed:explode", "no action 'explode'"),
        ("run.claimed", "no action"),
        ("run.claimed:raise;sede=1", "unknown option 'sede'"),
        ("run.claimed:raise:often", "probability 'often'"),
        ("run.claimed:raise:1.5", "probability '1.5'"),
        ("run.claimed:raise:-1", "probability '-1'"),
        ("run.claimed:raise:nan", "probability 'nan'"),
        ("run.claimed:raise:1:first", "n-th time 'first'"),
        ("run.claimed:raise:1:0", "n-th time '0'"),
        ("run.claimed:raise:1:2:3", "too many"),
        ("run.claimed:raise;stall=long", "stall 'long'"),
    ],
)
def test_a_wrong_specification_is_refused_by_name(specification: str, said: str) -> None:
    with pytest.raises(ValueError, match="OUTLAST_FAULT") as refused:
        arm(specification)

    assert said in str(refused.value)


def test_a_refused_specification_leaves_what_was_armed() -> None:
    arm("run.claimed:raise")
    with pytest.raises(ValueError, match="OUTLAST_FAULT"):
        arm("run.claimed:explode")

    with pytest.raises(FaultInjected):
        emit("run.claimed")


def test_an_empty_specification_disarms() -> None:
    arm("run.claimed:raise")
    arm("")

    emit("run.claimed")


def test_raise_and_lost_raise_what_they_say() -> None:
    arm(" run.claimed:raise , run.started:lost ")

    with pytest.raises(FaultInjected, match=r"run\.claimed"):
        emit("run.claimed")
    with pytest.raises(ConnectionError, match=r"run\.started"):
        emit("run.started")
    emit("run.executed")


def test_the_nth_time_is_the_only_time() -> None:
    arm("run.claimed:raise:1:3")

    emit("run.claimed")
    emit("run.claimed")
    with pytest.raises(FaultInjected):
        emit("run.claimed")
    emit("run.claimed")


def _struck(seed: int) -> list[bool]:
    arm(f"run.claimed:raise:0.3;seed={seed}")
    struck: list[bool] = []
    for _ in range(200):
        try:
            emit("run.claimed")
        except FaultInjected:
            struck.append(True)
        else:
            struck.append(False)
    return struck


def test_a_seed_repeats_the_same_faults() -> None:
    assert _struck(1) == _struck(1)
    assert _struck(1) != _struck(2)
    assert 30 < sum(_struck(1)) < 90


def test_a_stall_blocks_the_thread_for_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(telemetry.faults.time, "sleep", slept.append)
    arm("run.claimed:stall;stall=2.5")

    emit("run.claimed")

    assert slept == [2.5]


def test_each_hit_is_logged_with_its_process(tmp_path: Path) -> None:
    log = tmp_path / "faults.log"
    arm(f"run.claimed:raise:1:2;log={log}")

    emit("run.claimed")
    with pytest.raises(FaultInjected):
        emit("run.claimed")

    assert log.read_text() == f"run.claimed {os.getpid()}\n"


def test_listeners_hear_in_order_until_they_leave() -> None:
    heard: list[tuple[str, object]] = []
    leave = subscribe(lambda point, fields: heard.append((point, fields["n"])))
    emit("run.claimed", n=1)
    emit("run.started", n=2)
    leave()
    emit("run.claimed", n=3)

    assert heard == [("run.claimed", 1), ("run.started", 2)]


def test_a_listener_may_leave_while_it_is_told() -> None:
    heard: list[str] = []

    def once(point: str, _fields: object) -> None:
        heard.append("once")
        leave()

    leave = subscribe(once)
    stay = subscribe(lambda point, _fields: heard.append("stay"))
    emit("run.claimed")
    stay()

    assert heard == ["once", "stay"]


def test_faults_do_not_disturb_the_programs_own_dice() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    arm("run.claimed:raise:0.0;seed=1")
    emit("run.claimed")

    assert random.random() == expected
