"""The script that finds promtool and the others, or fetches them."""

import importlib
import subprocess
import sys
import tarfile
from io import BytesIO

import pytest
from monitored import ROOT

SCRIPT = ROOT / "scripts" / "prometheus_tools.py"
APT = """#!/bin/sh
# The first time the machine has no index.
case "$*" in
  update*) touch "{folder}/updated"; exit 0;;
esac
[ -e "{folder}/updated" ] || {{ echo "E: Unable to locate package prometheus" >&2; exit 100; }}
cp "{folder}/package" prometheus_1_all.deb
"""
PROMTOOL = b"#!/bin/sh\necho promtool, version 1\n"


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The module, with a cache of its own and only what the test puts on PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return importlib.import_module("prometheus_tools")


def command(folder, name, text):
    (folder / "bin" / name).write_text(text)
    (folder / "bin" / name).chmod(0o755)


def test_what_is_on_the_path_is_taken(tools, tmp_path):
    command(tmp_path, "promtool", PROMTOOL.decode())
    assert tools.tool("promtool") == tmp_path / "bin" / "promtool"
    assert not tools.cache().exists()


def test_without_apt_it_says_what_to_install(tmp_path):
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no apt-get to fetch it with: install Prometheus and Alertmanager" in done.stderr


def package(folder, digest):
    """What dpkg-deb unpacks: the files of a package, and its list of them."""
    archive = folder / "package"
    with tarfile.open(archive, "w") as tar:
        for name, content in (
            ("usr/bin/promtool", PROMTOOL),
            ("DEBIAN/md5sums", f"{digest}  usr/bin/promtool\n".encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, BytesIO(content))
    # Its second argument is the archive, its third the folder; what is not asked for does no harm.
    command(folder, "dpkg-deb", '#!/bin/sh\nmkdir -p "${3%/DEBIAN}"\ntar -xf "$2" -C "${3%/DEBIAN}"\n')
    command(folder, "apt-get", APT.format(folder=folder))


@pytest.fixture
def system_commands(tools, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(tools.shutil, "which", lambda name: None if name in tools.PACKAGES else f"/bin/{name}")


@pytest.mark.usefixtures("system_commands")
def test_a_package_is_fetched_once_with_an_index_of_its_own_where_the_machine_has_none(tools, tmp_path):
    package(tmp_path, tools.hashlib.md5(PROMTOOL).hexdigest())
    found = tools.tool("promtool")
    assert found == tools.cache() / "prometheus" / "usr" / "bin" / "promtool"
    assert found.read_bytes() == PROMTOOL

    (tmp_path / "bin" / "apt-get").unlink()
    assert tools.tool("promtool") == found


@pytest.mark.usefixtures("system_commands")
def test_a_damaged_file_is_refused_and_leaves_nothing_behind(tools, tmp_path):
    package(tmp_path, "0" * 32)
    with pytest.raises(tools.ToolMissing, match=r"usr/bin/promtool of the package is damaged"):
        tools.tool("promtool")
    assert {path.name for path in tools.cache().iterdir()} == {"apt", "lock"}
