"""The files of an embedded PostgreSQL: its directory, its data, its password, and how its programs are run."""

import hashlib
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from outlast.errors import DatabaseSetupError
from outlast.storage.postgres.embedded_binaries import Binaries
from outlast.storage.postgres.embedded_watchdog import PGDATA, SERVER_LOCK

SUPERUSER: Final = "postgres"
PORT: Final = 5432  # only a part of the socket's file name

# Given on the command line, so that a new version's values reach existing data too.
_SETTINGS: Final = {
    "listen_addresses": "",  # no TCP
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "fsync": "on",
    "max_connections": "200",
    "authentication_timeout": "5s",  # a login that its program gave up holds its database for so long
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "wal_level": "minimal",  # nobody replicates from a development server
    "max_wal_senders": "0",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements carry users' data; the log is for the server's own troubles
}

_LOG_LIMIT_BYTES: Final = 10_000_000
_LOG_TAIL_LINES: Final = 15
_SOCKET_PATH_LIMIT: Final = 107  # bytes, of the kernel's sockaddr_un


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data directory. `directory` is absolute and resolved: it identifies the server among processes."""

    directory: Path

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.directory / PGDATA

    @property
    def log(self) -> Path:
        """Where the server, the watchdog and initdb write their troubles."""
        return self.directory / "postgres.log"

    def create_directory(self) -> None:
        """Make the directory, closed to others and ignored by git; one that exists keeps its mode."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = self.directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def read_password(self) -> str:
        """Read the one password of all roles; DatabaseSetupError if it was lost while the data was kept."""
        try:
            return self._password_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise DatabaseSetupError(
                f"{self._password_file} is missing, so nobody can log in to the data next to it. Put the file back, "
                f"or remove {self.directory} to start with an empty database."
            ) from None

    def url(self, socket_dir: str, *, user: str, database: str) -> str:
        """Return a libpq URL over the server's Unix socket, password included."""
        host = quote(os.fsencode(socket_dir), safe="")
        return f"postgresql://{user}:{self.read_password()}@/{database}?host={host}&port={PORT}"

    def prepare(self, binaries: Binaries, server_lock: int, timeout_seconds: float) -> None:
        """Make the data ready for `binaries`, with initdb if there is none yet.

        The caller holds server.lock; initdb inherits it, so that one whose starter was killed is waited for.
        """
        self._rotate_log()
        if not self.pgdata.exists():
            self._initialise(binaries, server_lock, timeout_seconds)
        self._check_version(binaries)
        self._give_to_server_user()
        self._remove_leftovers()

    def server_command(self, binaries: Binaries) -> list[str]:
        """Return the command line of the postmaster: it begins `postgres -D PGDATA`, as the watchdog expects it."""
        # Double quotes because PostgreSQL reads a comma-separated list here.
        settings = _SETTINGS | {"unix_socket_directories": f'"{self._make_socket_dir()}"'}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*_as_server_user(self.pgdata), str(binaries.postgres), "-D", str(self.pgdata), *options]

    def log_tail(self, offset: int = 0) -> str:
        """Return the last lines of the log written after `offset` bytes."""
        try:
            with self.log.open("rb") as log:
                log.seek(offset)
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])

    @property
    def _password_file(self) -> Path:
        return self.directory / "password"

    def _initialise(self, binaries: Binaries, server_lock: int, timeout_seconds: float) -> None:
        """Run initdb beside the final place: data that exists under its name is always complete."""
        unfinished = self.directory / "data.tmp"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        uid, gid = _server_ids(unfinished)
        os.chown(unfinished, uid, gid)
        self._create_password()
        self._run_initdb(binaries, unfinished, server_lock, timeout_seconds)
        unfinished.rename(self.pgdata)
        _sync_directory(self.directory)

    def _create_password(self) -> None:
        if self._password_file.exists():
            return
        new = self._password_file.with_suffix(".tmp")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._password_file)

    def _run_initdb(self, binaries: Binaries, target: Path, server_lock: int, timeout_seconds: float) -> None:
        options = ["-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={self._password_file}", "--data-checksums"]
        options += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        if binaries.major >= 17:  # noqa: PLR2004 - the version that brought the builtin provider
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = [*_as_server_user(target), str(binaries.initdb), "-D", str(target), *options]
        done = subprocess.run(  # noqa: S603 - our own command line
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=server_environment(),
            pass_fds=[server_lock],
            timeout=timeout_seconds,
        )
        if done.returncode != 0:
            tail = "\n".join(done.stdout.splitlines()[-_LOG_TAIL_LINES:])
            raise start_failure(f"initdb could not create the database in {self.directory}", tail)

    def _check_version(self, binaries: Binaries) -> None:
        found = (self.pgdata / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != str(binaries.major):
            raise DatabaseSetupError(
                f"The data in {self.pgdata} was written by PostgreSQL {found}, but the PostgreSQL found here is "
                f"version {binaries.major} ({binaries.postgres}). To keep the data, start PostgreSQL {found} on it, "
                f"`pg_dump` the database outlast, remove {self.directory}, start Outlast once, and restore the dump; "
                f"otherwise remove {self.directory} to start with an empty database."
            )

    def _give_to_server_user(self) -> None:
        """PostgreSQL accepts only data of its own user; as root, take over data that a copy left to root."""
        if os.geteuid() != 0 or self.pgdata.stat().st_uid != 0:
            return
        uid, gid = _server_ids(self.pgdata)
        for folder, _, files in os.walk(self.pgdata, topdown=False):
            for path in (*(Path(folder, name) for name in files), Path(folder)):
                os.chown(path, uid, gid, follow_symlinks=False)

    def _remove_leftovers(self) -> None:
        """Remove the lock files of a server that was killed.

        PostgreSQL would refuse to start if their pid now belongs to any other process, as it does after a container
        restart. The caller holds server.lock: no process of a former server is left, backends included.
        """
        (self.pgdata / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self._make_socket_dir() / name).unlink(missing_ok=True)

    def _make_socket_dir(self) -> Path:
        """Choose the data directory itself, or a short private one in the temp directory if a socket does not fit."""
        path = str(self.directory)
        # PostgreSQL and libpq both take lists of directories: quotes, commas and the like would be read as syntax.
        plain = re.fullmatch(r"[\w/.+=@ -]+", path, re.ASCII)
        if plain and len(f"{path}/.s.PGSQL.{PORT}.lock") <= _SOCKET_PATH_LIMIT:
            return self.directory
        # server.lock is what makes the name unique: a server that outlived the removal of its directory keeps that
        # inode, so a new server on the same path gets another socket.
        identity = f"{path}:{(self.directory / SERVER_LOCK).stat().st_ino}"
        name = f"outlast-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]}"
        return _private_directory(name)

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))


def start_failure(what: str, tail: str) -> DatabaseSetupError:
    """Build the error of a server that does not start, with the server's own last words."""
    hint = ""
    if "setpriv:" in tail:
        hint = (
            " PostgreSQL refuses to run as root, so Outlast runs it as another user and needs the capabilities "
            "SETUID, SETGID, SETPCAP and DAC_OVERRIDE for that. "
            "Allow them, or run Outlast as a normal user, or set DATABASE_URL."
        )
    said = f" Its last output:\n{tail}" if tail else ""
    return DatabaseSetupError(f"{what}.{hint}{said}")


def server_environment() -> dict[str, str]:
    """Our environment without what would change PostgreSQL's behaviour: PG* variables and the locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    # PostgreSQL's messages are matched and shown; the time zone is set by configuration.
    return kept | {"LC_ALL": "C"}


def _server_ids(data: Path) -> tuple[int, int]:
    """Who runs the server: ourselves; as root the owner of the data, else `nobody`, as PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    status = data.stat()
    if status.st_uid != 0:
        return status.st_uid, status.st_gid
    try:
        # initdb looks its user up, so it has to be one with an entry in passwd.
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise DatabaseSetupError(
            "PostgreSQL refuses to run as root and this system has no user `nobody` to run it as. "
            "Run Outlast as a normal user, or set DATABASE_URL."
        ) from None
    return entry.pw_uid, entry.pw_gid


def _as_server_user(data: Path) -> list[str]:
    """Return the prefix that runs a command as the server's user; empty unless we are root."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DatabaseSetupError(
            "PostgreSQL refuses to run as root, and `setpriv` (util-linux), which would run it as another user, is "
            "missing. Install it, or run Outlast as a normal user, or set DATABASE_URL."
        )
    uid, gid = _server_ids(data)
    # Project and programs may lie under a directory that only root may enter. DAC_OVERRIDE alone opens it, and
    # containers grant it by default, unlike DAC_READ_SEARCH.
    capability = "+dac_override"
    user = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    # Without the securebit, access(2) leaves the capability out of account, and initdb looks for its programs with it.
    keep = "--securebits=+no_setuid_fixup"
    return [setpriv, *user, keep, f"--inh-caps={capability}", f"--ambient-caps={capability}"]


def _private_directory(name: str) -> Path:
    """Make a directory in the temp directory that only we can enter, again if a cleaner removed it."""
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(f"{base}/{name}/.s.PGSQL.{PORT}.lock")) > _SOCKET_PATH_LIMIT:
        base = Path("/tmp")  # noqa: S108 - the name is checked below
    path = base / name
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    # Of the link itself, if it is one: the name can be guessed, so anybody may have put something there first.
    if not (stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077):
        raise DatabaseSetupError(
            f"{path} is where the database's socket belongs, but it is not a directory of ours alone "
            "(somebody else made it). Remove it, or set TMPDIR to a directory of your own."
        )
    return path


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
