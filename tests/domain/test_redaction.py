"""What looks like a secret is taken out of texts; what does not is left alone."""

import time

import pytest

from outlast.domain.redaction import redacted, redacted_value, secret_name

R = "Zk3vQ9xWb7LmT2pRy8NcJ5dHs6FgA1eU4iKoV0zXtBqMwPnS"
HEX = "3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"


@pytest.mark.parametrize(
    "secret",
    [
        f"sk-{R[:24]}", f"sk-proj-{R}", f"sk-ant-api03-{R}", f"sk_live_{R[:24]}", f"whsec_{R}", f"ok_7f3a9c_{R}",
        f"AKIA{'Q3X7' * 4}", f"ASIA{'Q3X7' * 4}", f"AIza{R[:35]}", f"ya29.{R}", f"ghp_{R[:36]}", f"github_pat_{R}",
        f"glpat-{R[:20]}", f"npm_{R[:36]}", f"pypi-{R}{R}", f"xoxb-123456789-{R[:12]}", f"123456789:AA{R[:33]}",
        f"SG.{R[:22]}.{R[:43]}", f"hf_{R[:34]}", f"gsk_{R}", f"lsv2_pt_{HEX}_0123456789", f"hvs.{R}", f"dapi{HEX}",
        f"shpat_{HEX}", f"dop_v1_{HEX}{HEX}", f"secret_{R[:43]}", f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{R}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{R}\n-----END RSA PRIVATE KEY-----", f"AGE-SECRET-KEY-1{'Q3X7' * 14}",
        f"https://hooks.slack.com/services/T0/B0/{R[:24]}",
    ],
)  # fmt: skip
def test_a_secret_of_a_known_form_is_taken_out_wherever_it_stands(secret: str) -> None:
    for text in (secret, f"before {secret} after", f'{{"x": "{secret}"}}', f"call({secret!r})"):
        shown = redacted(text)

        assert R[4:16] not in shown
        assert HEX[4:16] not in shown
        assert "Q3X7Q3X7" not in shown
        assert "***" in shown
    assert redacted(f"before {secret} after") == "before *** after"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("OPENAI_API_KEY=hunter2x", "OPENAI_API_KEY=***"),
        ('{"password": "hunter2x", "n": 1}', '{"password": "***", "n": 1}'),
        (r"{\"password\": \"hunter2x\"}", r"{\"password\": \"***\"}"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: *** ***"),
        ("connecting to postgresql://app:hunter2@x@db:5432/a", "connecting to postgresql://app:***@db:5432/a"),
        (f"token={HEX}", "token=***"),
    ],
)
def test_what_is_named_like_a_secret_is_taken_out(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "run 0199a1b2-1234-7abc-8def-0123456789ab failed: KeyError: 'messages'", "max_tokens: 1200, total_tokens=345",
        "key: messages", "the thread 'user-1' stands at checkpoint 1f0a", "https://example.com/a?b=c",
        "AssertionError: expected 3, got 4", "author: Ada, keyword=none", "risk-averse disk-space ask-me-anything",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert redacted(text) == text


def test_fields_are_known_by_their_names() -> None:
    value = {"a": {"api_key": "x", "n": 1, "max_tokens": 5}, "list": [f"sk-{R}", None], "token": "", "secret": True}

    shown = {"a": {"api_key": "***", "n": 1, "max_tokens": 5}, "list": ["***", None], "token": "", "secret": True}
    assert redacted_value(value) == shown
    assert secret_name("X-Api-Key")
    assert secret_name("openai_api_key")
    assert secret_name("dbPassword")
    assert not secret_name("max_tokens")
    assert not secret_name("author")
    assert not secret_name("thread_id")


@pytest.mark.parametrize(
    "evil", ["eyJ" + "a" * 100_000, "a-" * 50_000 + ":key", "-key" * 30_000 + ":", "x://" + ":" * 90_000]
)
def test_no_text_takes_long_to_look_through(evil: str) -> None:
    before = time.process_time()
    redacted(evil)
    assert time.process_time() - before < 5


def test_a_very_long_text_is_cut() -> None:
    assert redacted("x" * 300_000).endswith("... (300,000 characters)")
