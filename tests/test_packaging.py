"""What is shipped is complete, what is locked is reproducible, and importing the package stays cheap."""

import base64
import hashlib
import http.server
import re
import statistics
import subprocess
import sys
import threading
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "outlast"
LOCKS = sorted(ROOT.glob("requirements/*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^([a-z0-9.-]+)==([\w.!+-]+)(?: ; [\w\s.'\"<>=!()]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sources():
    files = (file for file in PACKAGE.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {f"outlast/{file.relative_to(PACKAGE).as_posix()}" for file in files}


def test_the_wheel_has_every_file_of_the_package(shipped):
    assert {"outlast/py.typed", "outlast/__init__.py"} <= shipped
    assert sources() - shipped == set()


def test_the_wheel_has_the_sql_and_the_templates(shipped):
    suffixes = {Path(name).suffix for name in sources()} - {".py", ""}
    for suffix in {".sql", *suffixes}:
        assert any(name.endswith(suffix) for name in shipped), f"no {suffix} file in the wheel"


def test_the_wheel_has_the_licence_and_nothing_but_the_package(shipped):
    assert {name.rpartition("/")[2] for name in shipped} >= {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"}
    assert {re.sub(r"-.*", "", name.partition("/")[0]) for name in shipped} == {"outlast"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_pins_and_hashes_and_no_place_to_get_them_from(lock):
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []


def test_the_set_up_names_no_package_index():
    files = [*LOCKS, *(ROOT / "scripts").glob("*.py"), ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "pyproject.toml"]
    assert [str(file) for file in files if re.search(r"https?:|index-url *=", file.read_text())] == []


def pins(lock):
    return dict(found.groups() for line in lock.read_text().splitlines() if (found := PIN.match(line)))


def wanted(group):
    """Yield what a dependency group asks for, with the groups and extras it refers to."""
    for entry in PROJECT["dependency-groups"][group]:
        if isinstance(entry, dict):
            yield from wanted(entry["include-group"])
        elif (asked := Requirement(entry)).name == "outlast":
            extras = PROJECT["project"]["optional-dependencies"]
            yield from (Requirement(text) for extra in asked.extras for text in extras[extra])
        else:
            yield asked


def test_the_wheel_builder_is_locked():
    builders = {Requirement(text).name for text in PROJECT["build-system"]["requires"]}
    assert builders <= {asked.name for asked in wanted("build")}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_satisfies_pyproject(lock):
    asked = list(wanted(lock.stem))
    if lock.stem != "lock":
        asked += map(Requirement, PROJECT["project"]["dependencies"])
    locked = pins(lock)
    missing = [
        str(each)
        for each in asked
        if not each.specifier.contains(locked.get(canonicalize_name(each.name), "0"), prereleases=True)
    ]
    assert missing == [], "run `make lock`"


def test_the_locks_agree_with_each_other():
    first, *others = (pins(lock) for lock in LOCKS)
    for other in others:
        assert {name: other[name] for name in first.keys() & other} == {
            name: first[name] for name in first.keys() & other
        }


def fresh(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def test_importing_the_package_loads_nothing_heavy():
    heavy = {
        "fastapi",
        "langchain_core",
        "langgraph",
        "psycopg",
        "psycopg_pool",
        "pydantic",
        "rich",
        "typer",
        "uvicorn",
    }
    before = set(fresh("-c", "import sys; print(*sys.modules)").stdout.split())
    after = set(fresh("-c", "import sys, outlast; print(*sys.modules)").stdout.split())
    assert heavy & (after - before) == set()


def test_importing_the_package_is_quick():
    def seconds():
        last = fresh("-X", "importtime", "-c", "import outlast").stderr.splitlines()[-1]
        _, cumulative, name = last.split("|")
        assert name.strip() == "outlast"
        return int(cumulative) / 1e6

    # 0.3 s is the promise; a busy machine gets three times that.
    assert statistics.median(seconds() for _ in range(3)) < 0.9


@pytest.fixture
def find_pip(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "CERT"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    import find_pip

    return find_pip


WHEEL = b"stands for pip"


@pytest.fixture
def index():
    """Serve a simple index with one wheel, to those who know the password."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:p@ss").decode()
            page = b'<a href="../files/pip-1.0-py3-none-any.whl#sha256=0">pip</a>' if self.path == "/pip/" else WHEEL
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(page if known else b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"me:p%40ss@127.0.0.1:{server.server_port}"
        server.shutdown()


def pin(find_pip, tmp_path, content=WHEEL):
    lock = tmp_path / "some.lock"
    lock.write_text(f"pip==1.0 \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\nrich==1 \\\n    --hash=x\n")
    return find_pip.Pin.of(lock)


def test_pip_comes_from_the_configured_index_with_its_credentials(find_pip, index, tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex_url = http://{index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert pin(find_pip, tmp_path).download(tmp_path).read_bytes() == WHEEL


def test_pip_comes_from_a_folder_of_wheels(find_pip, tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "pip-1.0-py3-none-any.whl").write_bytes(WHEEL)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert pin(find_pip, tmp_path).download(tmp_path).read_bytes() == WHEEL


def test_a_pip_other_than_the_locked_one_is_refused(find_pip, index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{index}")
    with pytest.raises(OSError, match="not the locked file") as refused:
        pin(find_pip, tmp_path, b"another").download(tmp_path)
    assert "p@ss" not in str(refused.value)
    assert not (tmp_path / "pip-1.0-py3-none-any.whl").exists()


def test_without_an_index_nothing_is_downloaded(find_pip, tmp_path, monkeypatch):
    monkeypatch.setattr(find_pip, "setting", lambda _: [])
    with pytest.raises(OSError, match="PIP_INDEX_URL"):
        pin(find_pip, tmp_path).download(tmp_path)
