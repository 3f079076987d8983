from collections.abc import Iterator

import pytest
from fleet import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote.open() as zygote:
        yield zygote
