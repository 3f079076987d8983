"""Regular expressions in bounded time.

Python's `re` cannot be interrupted, and there are patterns that take longer than the universe for a text of a hundred
characters. So only what is certainly quick is looked for here; everything else is looked for by a process of its own,
which is killed when its time is over, and begun anew for the next text.
"""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

# Its own parser, which has no other name; it says what a pattern is made of.
_parser: Any = import_module("re._parser")
_constants: Any = import_module("re._constants")
_REPEATS: Final = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)
_SINGLE: Final = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.IN, _constants.ANY)
# Ways to match at one place, times the length of the text: some milliseconds.
_QUICK: Final = 1_000_000
_PROCESS: Final = Path(__file__).with_name("matching_process.py")
#: A line may be as long as a request.
_LONGEST_ANSWER: Final = 1 << 16


class Ways(NamedTuple):
    """In how many ways a pattern can match at one place, at most: `times * length ** power`, of the text's length."""

    times: int
    power: int = 0

    def quick(self, length: int) -> bool:
        """Whether a text of this length is looked through in some milliseconds, wherever the pattern gives up."""
        return self.power < _ENDLESS and self.times * length ** (self.power + 1) <= _QUICK

    def then(self, other: "Ways") -> "Ways":
        """Return the ways of one behind the other."""
        return Ways(min(_QUICK, self.times) * min(_QUICK, other.times), min(_ENDLESS, self.power + other.power))


#: A power that is as good as an exponent of the length itself.
_ENDLESS: Final = 8
_FOR_EVER: Final = Ways(1, _ENDLESS)


class TooSlow(Exception):
    """The patterns were not through with the text when the time was over."""


class Matcher:
    """Looks for named patterns in texts."""

    def __init__(self, rules: Mapping[str, re.Pattern[str]], *, timeout_seconds: float) -> None:
        self._rules = dict(rules)
        self._ways = {name: ways(rule) for name, rule in rules.items()}
        self._timeout_seconds = timeout_seconds
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def first(self, names: Sequence[str], texts: Iterable[str]) -> str | None:
        """Return the first of these patterns that one of the texts holds; raises TooSlow."""
        given = list(texts)
        size = sum(map(len, given)) + 1
        for name in names:
            if not self._ways[name].quick(size):
                return await self._elsewhere(names, given)
        return next((name for name in names if any(self._rules[name].search(text) for text in given)), None)

    async def aclose(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        _close(process)

    async def _elsewhere(self, names: Sequence[str], texts: Sequence[str]) -> str | None:
        # ASCII, so that a lone surrogate gets through.
        line = json.dumps([names, texts]).encode() + b"\n"
        async with self._turn:
            try:
                process = self._process or await self._started()
                async with asyncio.timeout(self._timeout_seconds):
                    return json.loads(await _told(process, line))
            except TimeoutError as error:
                await self.aclose()
                raise TooSlow from error
            # It ended by itself, or whoever asked has gone: what it says next would be the answer to another question.
            except BaseException:
                await self.aclose()
                raise

    async def _started(self) -> Process:
        """Start it; how long that takes is not the text's fault."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_PROCESS), stdin=PIPE, stdout=PIPE, limit=_LONGEST_ANSWER
        )
        self._process = process
        rules = [[name, rule.pattern, rule.flags] for name, rule in self._rules.items()]
        await _told(process, json.dumps(rules).encode() + b"\n" + json.dumps([[], []]).encode() + b"\n")
        return process


async def _told(process: Process, line: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        msg = "the process that looks for patterns has no pipes"
        raise RuntimeError(msg)
    process.stdin.write(line)
    await process.stdin.drain()
    answer = await process.stdout.readline()
    if not answer:
        msg = "the process that looks for patterns has ended"
        raise ConnectionError(msg)
    return answer


def _close(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    # asyncio closes the transport when it is collected, and warns of it.
    transport: Any = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def ways(rule: re.Pattern[str]) -> Ways:
    """Return in how many ways the pattern can match at one place, at most: its time per character.

    A repetition of more than one character, or a reference back, is as good as endless; a repetition without an end of
    one character has as many ways as the text is long.
    """
    return _ways(_parser.parse(rule.pattern, rule.flags & ~re.DEBUG))


def _ways(items: Any) -> Ways:
    product = Ways(1)
    for operator, argument in items:
        product = product.then(_ways_of(operator, argument))
    return product


def _ways_of(operator: Any, argument: Any) -> Ways:
    if operator in _REPEATS:
        return _ways_of_repeat(*argument)
    if operator is _constants.BRANCH:
        branches = [_ways(branch) for branch in argument[1]]
        return Ways(sum(branch.times for branch in branches), max(branch.power for branch in branches))
    if operator is _constants.SUBPATTERN:
        return _ways(argument[-1])
    if operator in {_constants.ASSERT, _constants.ASSERT_NOT}:
        return _ways(argument[1])
    plain = operator in (*_SINGLE, _constants.AT)
    return Ways(1) if plain else _FOR_EVER


def _ways_of_repeat(least: int, most: Any, body: Any) -> Ways:
    if most == 1:
        inner = _ways(body)
        return Ways(inner.times + 1, inner.power)
    if len(body) != 1 or body[0][0] not in _SINGLE:
        return _FOR_EVER
    return Ways(1, 1) if most is _constants.MAXREPEAT else Ways(most - least + 1)
