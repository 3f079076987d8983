"""Whether a text holds a pattern, in bounded time, for code that runs in a thread; see `policies.matching`."""

import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from outlast.policies import matching_process
from outlast.policies.matching import TooSlow, Ways, ways

_SECONDS: Final = 1.0


def search(pattern: str, text: str) -> bool:
    """Return whether it is found; raises TooSlow, and re.error for what is no pattern."""
    rule, costs = _known(pattern)
    if costs.quick(len(text) + 1):
        return rule.search(text) is not None
    lines = [json.dumps(line) for line in ([["it", pattern, rule.flags]], [["it"], [text]])]
    try:
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-I", "-S", str(Path(matching_process.__file__))],
            input="\n".join(lines) + "\n", capture_output=True, text=True, check=True, timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TooSlow from error
    return json.loads(done.stdout) is not None


@lru_cache(maxsize=256)
def _known(pattern: str) -> tuple[re.Pattern[str], Ways]:
    rule = re.compile(pattern)
    return rule, ways(rule)
