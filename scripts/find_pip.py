"""Get the locked pip into `.venv`, by whichever way a machine offers.

A machine's own pip, ensurepip and uv are asked first. Where there is none of them, as on Debian without
python3-venv, pip is downloaded from the index it is configured for. Without pip nobody reads pip's
configuration, so the part that says where packages come from is read here: environment, `pip.conf` in its
usual places, certificate. There is deliberately no default index.
"""

from __future__ import annotations

import configparser
import hashlib
import html
import os
import re
import shutil
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from steps import PYTHON, VENV, SetupError, run, step


def install(base: str, lock: Path) -> None:
    """Install the pip that a lock file pins; `base` is the machine's Python."""
    pin = Pin.of(lock)
    pin.file.write_text(pin.text, encoding="utf-8")
    failures = []
    # ensurepip only second: it takes seconds to unpack a pip that is replaced at once.
    for name, way in (("this machine's pip", by_pip), ("ensurepip", by_ensurepip), ("uv", by_uv), ("urllib", by_url)):
        try:
            with step(f"installing pip {pin.version} with {name}", otherwise="cannot"):
                return way(base, pin)
        except (SetupError, OSError) as error:
            if getattr(error, "hint", ""):
                raise  # no other way gets round a full disk or a missing index
            failures.append(f"{name}: {error}")
    msg = "found no way to install pip; on Debian and Ubuntu, `apt install python3-venv` gives one\n"
    raise SetupError(msg + "\n".join(failures))


def by_pip(base: str, pin: Pin) -> None:
    """Let the pip of the machine's Python install into `.venv` (pip 22.3 or later)."""
    run(base, "-m", "pip", "--python", PYTHON, "install", "--no-user", "--require-hashes", "-r", pin.file)


def by_ensurepip(_: str, pin: Pin) -> None:
    """Unpack the pip that comes with Python, and replace it with the locked one."""
    run(PYTHON, "-m", "ensurepip")
    run(PYTHON, "-m", "pip", "install", "--no-user", "--require-hashes", "-r", pin.file)


def by_uv(_: str, pin: Pin) -> None:
    """Let uv do it, telling it what pip would read from its own configuration."""
    uv = shutil.which("uv")
    if not uv:
        msg = "not on PATH"
        raise SetupError(msg)
    run(uv, "pip", "install", "--python", PYTHON, "--require-hashes", "-r", pin.file, env=uv_environment())


def by_url(_: str, pin: Pin) -> None:
    """Download pip's wheel and run it to install itself."""
    wheel = pin.download(VENV)
    run(PYTHON, wheel / "pip", "install", "--no-user", "--no-index", "--no-deps", wheel)
    wheel.unlink()


def setting(name: str) -> list[str]:
    """Return the values pip would use for an option such as `index-url`; later places win over earlier ones."""
    if from_environment := os.environ.get("PIP_" + name.upper().replace("-", "_")):
        return from_environment.split()
    named = os.environ.get("PIP_CONFIG_FILE", "")
    parser = configparser.RawConfigParser(strict=False)
    if named != os.devnull:  # pip's way to say "no configuration files"
        home = Path("~").expanduser()
        everywhere = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        parser.read([Path(place, "pip/pip.conf") for place in everywhere.split(":")])
        parser.read(["/etc/pip.conf", home / ".pip/pip.conf", own / "pip/pip.conf", named])
    values: list[str] = []
    for section in ("global", "install"):
        for key in (name, name.replace("-", "_")):
            values = parser.get(section, key, fallback="").split() or values
    return values


def uv_environment(*, everything: bool = True) -> dict[str, str]:
    """Return the environment with pip's sources under uv's names; what is set for uv already stays.

    A lock file is made from the main index alone (`everything=False`): hashes of whatever else one machine
    finds packages in would be of no use to others.
    """
    translated = {"UV_DEFAULT_INDEX": " ".join(setting("index-url")), "SSL_CERT_FILE": " ".join(setting("cert"))}
    if everything:
        translated["UV_INDEX"] = " ".join(setting("extra-index-url"))
        translated["UV_FIND_LINKS"] = ",".join(setting("find-links"))
    return {**{name: value for name, value in translated.items() if value}, **os.environ}


@dataclass(frozen=True)
class Pin:
    """The version of pip a lock file asks for, and the hashes it accepts."""

    text: str
    version: str
    hashes: frozenset[str]

    @property
    def file(self) -> Path:
        """The requirements file that asks for nothing but this pip."""
        return VENV / "pip.lock"

    @classmethod
    def of(cls, lock: Path) -> Pin:
        """Read the pin from a lock file."""
        found = re.search(r"^pip==(\S+)[^\n]*\n(?:[ \t]+[^\n]*\n)+", lock.read_text(encoding="utf-8"), re.MULTILINE)
        if not found:
            msg = f"{lock.name} does not lock pip; run `make lock`"
            raise OSError(msg)
        return cls(found[0], found[1], frozenset(re.findall(r"sha256:(\w+)", found[0])))

    def download(self, into: Path) -> Path:
        """Download the wheel from the first configured place that has the locked one."""
        name = f"pip-{self.version}-py3-none-any.whl"
        indexes = [f"{index.rstrip('/')}/pip/" for index in setting("index-url") + setting("extra-index-url")]
        places = [*indexes, *map(page_of, setting("find-links"))]
        if not places:
            msg = "no index is configured for pip (pip.conf, PIP_INDEX_URL), so there is nowhere to download it from"
            raise OSError(msg)
        problems = []
        for place in places:
            try:
                wheel = next((link for link in links(place) if link.rpartition("/")[2] == name), "")
                content = fetch(wheel) if wheel else b""
            except (OSError, ValueError) as error:
                problems.append(str(error))
                continue
            if hashlib.sha256(content).hexdigest() in self.hashes:
                into.joinpath(name).write_bytes(content)
                return into / name
            problems.append(f"{name} there is not the locked file" if wheel else f"no {name} there")
        raise OSError("; ".join(problems))


def page_of(place: str) -> str:
    """Return a `find-links` place, which may be a plain path, as an address."""
    return place if "://" in place else Path(place).expanduser().resolve().as_uri()


def links(page: str) -> list[str]:
    """Return the addresses a page links to, without their fragments; a local directory links to its files."""
    parts = urllib.parse.urlsplit(page)
    if parts.scheme == "file" and (directory := Path(urllib.request.url2pathname(parts.path))).is_dir():
        if not (directory / "index.html").exists():
            return [file.as_uri() for file in directory.iterdir()]
        page = (directory / "index.html").as_uri()
    found = re.findall(r"""href\s*=\s*["']([^"']+)""", fetch(page).decode("utf-8", "replace"), re.IGNORECASE)
    return [urllib.parse.urldefrag(urllib.parse.urljoin(page, html.unescape(link))).url for link in found]


def fetch(address: str) -> bytes:
    """Return what is at an address, with the certificate and the credentials pip would use."""
    parts = urllib.parse.urlsplit(address)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    # Tied to their own address, so that a redirect to another host does not carry them along.
    known = urllib.request.HTTPPasswordMgrWithPriorAuth()
    if parts.username:
        user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
        known.add_password(None, bare, user, password, is_authenticated=True)
    trusted = ssl.create_default_context(cafile=next(iter(setting("cert")), None))
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trusted), urllib.request.HTTPBasicAuthHandler(known)
    )
    with opener.open(bare, timeout=30) as answer:
        return answer.read()
