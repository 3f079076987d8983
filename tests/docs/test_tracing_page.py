"""The page about traces shows settings that exist and code that works."""

import io
import tomllib
from typing import Any
from uuid import uuid4

import pytest
from pages import run_snippet, snippets

from outlast.settings_tracing import TracingSettings
from outlast.telemetry import about


@pytest.mark.parametrize("text", snippets("docs/tracing.md", "toml"))
def test_the_settings_are_taken(text: str) -> None:
    assert TracingSettings.model_validate(tomllib.loads(text)["tracing"]).endpoint


async def test_a_service_that_is_called_by_hand_is_told_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    names = await run_snippet(snippets("docs/tracing.md", "python")[0], {})
    sent: list[Any] = []

    def urlopen(request: Any, **_: Any) -> io.BytesIO:
        sent.append(request)
        return io.BytesIO(b"ok")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    traceparent = f"00-{uuid4().hex}-00f067aa0ba902b7-01"
    with about(traceparent=traceparent):
        assert names["reserve"]("http://localhost/reserve") == b"ok"

    assert sent[0].headers["Traceparent"] == traceparent
