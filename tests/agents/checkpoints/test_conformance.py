"""LangGraph's own suite for checkpointers, one case per capability."""

from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from savers import OpenSaver


@pytest.mark.parametrize("capability", [capability.value for capability in Capability])
async def test_the_saver_has_every_capability_of_the_conformance_suite(capability: str, open_saver: OpenSaver) -> None:
    @checkpointer_test(name="outlast")
    async def savers() -> Any:
        yield await open_saver()

    report = await validate(savers, capabilities={capability})

    result = report.results[capability]
    assert result.detected
    assert result.failures == []
    assert result.passed
    assert result.tests_passed > 0
