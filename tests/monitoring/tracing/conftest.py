import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "torture"))

from otlp_receiver import OtlpReceiver, receiving_traces


@pytest.fixture(scope="module")
def traces() -> Iterator[OtlpReceiver]:
    with receiving_traces() as receiver:
        yield receiver
