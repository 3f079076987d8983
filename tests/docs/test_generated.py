"""What is generated in the documentation is what the code says."""

import subprocess
import sys
import tomllib
from pathlib import Path

from outlast.setting_names import settings_of
from outlast.settings import Settings, load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "settings.md"


def test_the_generated_parts_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_check_notices_a_page_that_is_behind(tmp_path):
    before = PAGE.read_text()
    (tmp_path / "docs").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "docs" / "settings.md").write_text(before.replace('| `"PT15S"` |', '| `"PT16S"` |'))
    script = tmp_path / "scripts" / "docs.py"
    script.write_text((ROOT / "scripts" / "docs.py").read_text())

    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    written = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert (checked.returncode, "make docs" in checked.stderr) == (1, True)
    assert written.returncode == 0
    now = (tmp_path / "docs" / "settings.md").read_text()
    assert '"PT16S"' not in now
    assert '| `"PT15S"` |' in now
    assert now.split("<!-- generated")[0] == before.split("<!-- generated")[0], "what people wrote stays"


def test_every_setting_says_what_it_is_for_and_is_on_the_page():
    page = PAGE.read_text()
    for setting in settings_of(Settings):
        assert setting.field.description, setting.key
        if setting.key != "fault":
            assert f"### `[{'.'.join(setting.path[:-1])}]`" in page
            assert f"| `{setting.path[-1]}` |" in page


def test_the_example_of_the_page_is_valid():
    shown = tomllib.loads(PAGE.read_text().split("```toml\n")[1].split("```")[0])
    assert shown.pop("agents")

    settings = load(project=shown)

    assert settings.calls.limits["openai:gpt-4o"].requests_per_minute == 500
    assert (settings.worker.lease.total_seconds(), settings.calls.caps.cost_usd) == (20, 2.5)
