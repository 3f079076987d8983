"""Rules about how much may be asked for: `100/minute per user`, `20/minute per api_key on support burst 5`.

A rule lets in so many requests in any stretch of its period, counted apart for each subject. All of them may come at
once, unless `burst` says how many may; then that many may come in the time in which the rule lets that many in.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast
from uuid import UUID

from outlast.domain.acting import Principal
from outlast.errors import ConfigurationError

if TYPE_CHECKING:
    from outlast.domain.admission import Verdict

Subject = Literal["user", "tenant", "api_key", "thread", "everybody"]

PERIODS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
SUBJECTS: Final = ("user", "tenant", "api_key", "thread", "everybody")
#: A window is counted in so many slices; what was spent comes back with the end of its slice.
SLICES: Final = 60
_LARGEST: Final = 1_000_000_000
_SHAPE: Final = "a rule is `COUNT/PERIOD per SUBJECT`, then `on AGENT` and `burst COUNT` if wanted"
# The fewest words: COUNT/PERIOD per SUBJECT.
_FEWEST: Final = 3


@dataclass(frozen=True, slots=True)
class Window:
    """So many requests in any stretch of so many seconds."""

    most: int
    seconds: float

    @property
    def slice_micros(self) -> int:
        """The length of a slice, rounded up: a window is never shorter than it says."""
        return max(1, -(-round(self.seconds * 1_000_000) // SLICES))


class Wanted(NamedTuple):
    """What a request asks of one window."""

    key: UUID
    window: Window
    #: The longest wait, in seconds, that it would accept.
    patience: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Whether a request passes, and what each window said, in the order in which they were asked."""

    #: Nothing was taken when not.
    granted: bool
    #: In so many seconds.
    wait: float
    #: Seconds until each window would let it pass by itself.
    waits: Sequence[float]
    #: What was left in each before this.
    remaining: Sequence[int]

    @property
    def at_once(self) -> bool:
        """Whether it was taken, and there is nothing to wait for."""
        return self.granted and not self.wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a run takes of limits in the moment in which it is stored: in the same round trip, or before."""

    wanted: tuple[Wanted, ...]
    #: Takes it apart from any run, now.
    now: "Callable[[], Awaitable[Taken]]"
    #: What is to be said about what was taken.
    said: "Callable[[Taken], Verdict]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, as it was understood."""

    text: str
    count: int
    period: str
    subject: Subject
    #: The agent whose runs it counts; None: all.
    agent: str | None = None
    burst: int | None = None
    #: What is too much starts later instead of being refused.
    queues: bool = False

    @property
    def windows(self) -> tuple[Window, ...]:
        """What it comes to."""
        seconds = PERIODS[self.period]
        whole = Window(self.count, seconds)
        if self.burst is None or self.burst >= self.count:
            return (whole,)
        return (Window(self.burst, seconds * self.burst / self.count), whole)

    def keys(self, who: Principal, thread_id: str) -> Iterator[UUID]:
        """Yield under what each of the windows is counted: a hash, so that nobody's name is kept."""
        counted = (self.subject, self.agent or "", *_counted(self.subject, who, thread_id))
        for window in self.windows:
            # With lengths, so that no two subjects become the same text.
            parts = [f"{window.most}/{window.seconds!r}", *counted]
            text = "".join(f"{len(part)}:{part}" for part in parts)
            yield UUID(bytes=blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())


def _counted(subject: Subject, who: Principal, thread_id: str) -> tuple[str, ...]:
    match subject:
        case "everybody":
            return ()
        case "tenant":
            return (who.tenant,)
        case "thread":
            return (who.tenant, thread_id)
        # Whoever comes without a name or a key shares one limit with all others who do.
        case "user":
            return (who.tenant, *(() if who.user is None else (who.user,)))
        case "api_key":
            return (who.tenant, *(() if who.key_id is None else (who.key_id,)))


def parse_rule(text: str, *, queues: bool = False, setting: str = "limits.rules") -> Rule:
    """Read a rule; raises ConfigurationError that names the setting and points at the word that is wrong."""
    words = _Words(text, setting)
    if len(words.all) < _FEWEST:
        raise words.wrong(len(words.all) - 1, "is too short to be a rule" if words.all else "is empty")
    count, slash, period = words.all[0].partition("/")
    if not slash:
        raise words.wrong(0, "has no `/`, as in `100/minute`")
    known_period = words.one_of(0, period, tuple(PERIODS))
    most = words.count(0, count)
    if words.all[1] != "per":
        raise words.wrong(1, "should be `per`")
    subject = cast("Subject", words.one_of(2, words.all[2], SUBJECTS))
    agent, burst = _options(words)
    return Rule(
        text=" ".join(words.all), count=most, period=known_period, subject=subject, agent=agent, burst=burst,
        queues=queues,
    )  # fmt: skip


def _options(words: "_Words") -> tuple[str | None, int | None]:
    agent: str | None = None
    burst: int | None = None
    for at in range(_FEWEST, len(words.all), 2):
        word = words.all[at]
        if word not in ("on", "burst"):
            raise words.wrong(at, "should be `on` or `burst`")
        if at + 1 == len(words.all):
            raise words.wrong(at, "wants a word behind it: " + ("an agent" if word == "on" else "a count"))
        if (agent if word == "on" else burst) is not None:
            raise words.wrong(at, "is there twice")
        if word == "on":
            agent = words.all[at + 1]
        else:
            burst = words.count(at + 1, words.all[at + 1])
    return agent, burst


class _Words:
    """The words of a rule, and errors that point at one."""

    def __init__(self, text: str, setting: str) -> None:
        self.all = text.split()
        self._setting = setting

    def wrong(self, at: int, why: str) -> ConfigurationError:
        marked = " ".join(f">>{word}<<" if place == at else word for place, word in enumerate(self.all))
        word = f"{self.all[at]!r} " if self.all else "the rule "
        return ConfigurationError(f"{self._setting}: {word}{why}, in `{marked}`; {_SHAPE}")

    def one_of(self, at: int, word: str, known: tuple[str, ...]) -> str:
        if word in known:
            return word
        close = get_close_matches(word, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise self.wrong(at, f"should name one of {', '.join(known)}, not {word!r}{hint}")

    def count(self, at: int, word: str) -> int:
        digits = word.replace("_", "")
        if not (digits.isascii() and digits.isdigit()) or not 1 <= int(digits[:20]) <= _LARGEST:
            raise self.wrong(at, f"should be a count from 1 to {_LARGEST:,}, not {word!r}")
        return int(digits)
