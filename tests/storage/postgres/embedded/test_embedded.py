"""The life of the embedded PostgreSQL: shared, killed, stopped; with real processes and real kills."""

import os
import shutil
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from embedded_processes import (
    USER,
    StartUser,
    bystander,
    is_stopped,
    postmaster_pid,
    query,
    server_uid,
    watchdog_pid,
)

from outlast.storage.postgres import embedded
from outlast.storage.postgres import embedded_watchdog as watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from waiting import wait_until

pytestmark = pytest.mark.processes

# --- ready, shared, one per directory ----------------------------------------------------------------------------


def test_a_started_server_answers_with_durable_settings(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as server:
        settings = {
            name: query(server.url, f"SHOW {name}")
            for name in ("fsync", "full_page_writes", "data_checksums", "autovacuum", "server_encoding", "timezone")
        }
        assert settings == {
            "fsync": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "autovacuum": "on",
            "server_encoding": "UTF8",
            "timezone": "UTC",
        }
        assert query(server.url, "SELECT current_database() || ' ' || current_user") == "outlast outlast"


def test_the_role_owns_its_database_but_is_no_superuser(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as server:
        assert query(server.url, "SHOW is_superuser") == "off"
        query(server.url, "CREATE SCHEMA something")
        query(server.url, "CREATE DATABASE another")


def test_the_data_directory_keeps_itself_out_of_git_and_away_from_others(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir):
        assert (data_dir / ".gitignore").read_text() == "*\n"
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert (data_dir / "password").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_at_the_same_instant_get_the_same_server(data_dir: Path, start_user: StartUser) -> None:
    users = [start_user() for _ in range(4)]
    for user in users:
        user.go()
    servers = {query(user.url(), "SELECT pg_postmaster_start_time()") for user in users}
    assert len(servers) == 1


def test_close_is_idempotent_and_ends_only_ones_own_use(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as stays, EmbeddedPostgres.start(data_dir) as leaves:
        leaves.close()
        leaves.close()
        assert watchdog.try_lock(data_dir / "users.lock") is None
        assert query(stays.url, "SELECT 1") == 1


# --- stopping ----------------------------------------------------------------------------------------------------


def test_the_server_stops_when_its_last_user_closes(data_dir: Path) -> None:
    EmbeddedPostgres.start(data_dir).close()
    wait_until(lambda: is_stopped(data_dir), 3, "the server outlived its last user")


def test_the_server_stops_when_its_last_user_is_killed_even_if_a_subprocess_of_it_lives(
    data_dir: Path, start_user: StartUser
) -> None:
    spawn = "import subprocess; child = subprocess.Popen(['/bin/sleep', '20']); print(child.pid, flush=True); input()"
    user = start_user(code=USER + spawn)
    user.go()
    user.url()
    user.go()
    child = int(user.url())
    user.kill()
    try:
        wait_until(lambda: is_stopped(data_dir), 3, "the server outlived its last user")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_user_who_arrives_during_the_linger_keeps_the_server_alive(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_LINGER", timedelta(seconds=1))
    first = EmbeddedPostgres.start(data_dir)
    pid = postmaster_pid(data_dir)
    first.close()
    with EmbeddedPostgres.start(data_dir) as second:
        linger_over = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > linger_over)
        assert query(second.url, "SELECT 1") == 1
        assert postmaster_pid(data_dir) == pid
    wait_until(lambda: is_stopped(data_dir), 3)


def test_a_user_who_arrives_while_the_server_stops_gets_a_new_one(data_dir: Path) -> None:
    first = EmbeddedPostgres.start(data_dir)
    pid = postmaster_pid(data_dir)
    os.kill(pid, signal.SIGSTOP)  # now the shutdown takes until SIGCONT
    first.close()
    wait_until(lambda: watchdog.is_locked(data_dir / "start.lock"), message="the watchdog does not stop the server")

    late: list[EmbeddedPostgres] = []
    arriving = threading.Thread(target=lambda: late.append(EmbeddedPostgres.start(data_dir)))
    arriving.start()
    os.kill(pid, signal.SIGCONT)
    arriving.join()

    with late[0] as second:
        assert query(second.url, "SELECT 1") == 1
        assert postmaster_pid(data_dir) != pid
        assert watchdog.is_locked(data_dir / "watchdog.lock")
    wait_until(lambda: is_stopped(data_dir), 3)


# --- kills -------------------------------------------------------------------------------------------------------


def test_the_server_and_its_data_survive_kill_9_of_the_process_that_started_it(
    data_dir: Path, start_user: StartUser
) -> None:
    starter = start_user()
    starter.go()
    starter_url = starter.url()
    with EmbeddedPostgres.start(data_dir) as server, psycopg.connect(server.url) as working:
        query(starter_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        starter.kill()
        linger_over = time.monotonic() + 1.3
        wait_until(lambda: time.monotonic() > linger_over)
        assert working.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_killed_watchdog_harms_nobody_and_the_next_user_brings_a_new_one(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as first:
        pid = postmaster_pid(data_dir)
        killed = watchdog_pid(data_dir)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not watchdog.is_locked(data_dir / "watchdog.lock"))
        assert query(first.url, "SELECT 1") == 1
    with EmbeddedPostgres.start(data_dir) as second:
        assert postmaster_pid(data_dir) == pid
        assert query(second.url, "SELECT 1") == 1
        assert watchdog_pid(data_dir) != killed
    wait_until(lambda: is_stopped(data_dir), 3, "the new watchdog did not adopt the server")


def test_a_killed_postmaster_is_noticed_and_its_committed_data_is_there(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as first:
        query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        with EmbeddedPostgres.start(data_dir) as second:
            assert query(second.url, "SELECT answer FROM kept") == 42
            assert second.url == first.url


def test_an_interrupted_initdb_is_redone(data_dir: Path, start_user: StartUser) -> None:
    user = start_user()
    user.go()
    wait_until((data_dir / "data.tmp" / "PG_VERSION").exists, message="initdb was too quick to be caught")
    user.kill()
    assert not (data_dir / "data").exists()
    with EmbeddedPostgres.start(data_dir) as server:
        assert query(server.url, "SELECT 1") == 1
    assert not (data_dir / "data.tmp").exists()


# --- stale pid files ---------------------------------------------------------------------------------------------


def test_a_stale_pid_that_now_is_an_unrelated_process_prevents_nothing_and_is_never_signalled(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir):
        pid_file = data_dir / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        stranger = bystander(server_uid(data_dir))
        os.kill(int(lines[0]), signal.SIGKILL)
        wait_until(lambda: not watchdog.is_locked(data_dir / "server.lock"))
    try:
        forged = "\n".join([str(stranger.pid), *lines[1:]]) + "\n"
        pid_file.write_text(forged)
        (data_dir / ".s.PGSQL.5432.lock").write_text(forged)
        wait_until(lambda: is_stopped(data_dir), 3)  # the old watchdog ends, and has met the forged file
        assert stranger.poll() is None
        with EmbeddedPostgres.start(data_dir) as server:
            assert query(server.url, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_signal_is_sent_only_to_a_postmaster_of_this_data(data_dir: Path) -> None:
    stranger = bystander(os.geteuid())
    try:
        claimed = watchdog.Postmaster(pid=stranger.pid, socket_dir="", status="ready")
        watchdog.signal_postmaster(claimed, data_dir / "data", signal.SIGKILL)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_watchdog_of_a_removed_directory_leaves_the_new_server_alone(data_dir: Path) -> None:
    old = EmbeddedPostgres.start(data_dir)
    old_pid, old_watchdog = postmaster_pid(data_dir), watchdog_pid(data_dir)
    shutil.rmtree(data_dir)
    try:
        with EmbeddedPostgres.start(data_dir) as new:
            old.close()
            wait_until(lambda: not Path(f"/proc/{old_watchdog}/cmdline").exists(), 4)
            assert query(new.url, "SELECT 1") == 1
            assert postmaster_pid(data_dir) != old_pid
    finally:
        os.kill(old_pid, signal.SIGQUIT)  # sooner than by itself, which takes it up to a minute
