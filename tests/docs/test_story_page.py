"""The page about the story of a thread names everything that can be told."""

from pages import ROOT

from outlast.domain.story import KINDS


def test_every_kind_of_entry_is_explained() -> None:
    page = (ROOT / "docs/thread-story.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]

    named = {word.strip(" `") for row in rows for word in row.split(",")}

    assert named == set(KINDS)
