"""`citations`: what an answer cites has to exist."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, field_validator

from outlast.policies.matching import ways
from outlast.validation.answers import answer
from outlast.validation.checks.check import Check, CheckOptions, place, shown
from outlast.validation.paths import Found, Path, found_at
from outlast.validation.validator import Reason, ValidationContext, Verdict
from outlast.validation.wording import holds, words_of

#: `[1]`, `[doc-3]`, `[contract.pdf]`; not the text of a link, `[here](...)`, nor a box to tick.
_MARKER: Final = r"\[\^?([A-Za-z0-9][\w.:/-]{0,99})\](?![\(:])"
_URL: Final = re.compile(r"https?://[^\s<>\"')\]}]{3,2000}")
_LONGEST: Final = 100_000


class CitationsOptions(CheckOptions):
    """The table."""

    marker: str = Field(
        default=_MARKER, description="how answers cite, with one group for the name; empty: not looked for"
    )
    ids: tuple[Path, ...] = Field(default=(), description="fields with names of sources, as `citations.*.source`")
    quotes: tuple[Path, ...] = Field(default=(), description="fields with what sources are said to say")
    urls: bool = Field(
        default=False, description="each address in the answer stands in a source, or is the name of one"
    )
    least: Annotated[int, Field(ge=0, description="citations that there have to be")] = 0
    fields: tuple[Path, ...] = Field(default=(), description="texts with markers and addresses; none: the answer")

    @field_validator("marker")
    @classmethod
    def _has_a_group(cls, marker: str) -> str:
        if not marker:
            return marker
        try:
            rule = re.compile(marker)
        except re.error as error:
            msg = f"{error}; it is no regular expression of Python"
            raise ValueError(msg) from error
        if rule.groups != 1:
            msg = "a marker has one group, in which the name of the source is"
            raise ValueError(msg)
        # It is looked for in this process, which a slow one would stop.
        if ways(rule).power:
            msg = r"a marker has no repetition without an end; write {1,50} in the place of + and *"
            raise ValueError(msg)
        return marker


class Citations(Check[CitationsOptions]):
    """Finds citations of sources that there are not, quotes that no source holds, and invented addresses.

    A source is cited by its name, or by its number as they stand (`[1]` is the first).
    """

    takes: ClassVar[type[CheckOptions]] = CitationsOptions

    def __init__(self, options: CitationsOptions) -> None:
        super().__init__(options)
        self._marker = re.compile(options.marker) if options.marker else None

    def validate(self, output: Any, context: ValidationContext) -> Verdict:
        """Look for each in the context's sources."""
        part, sources = self.part(output), context.sources
        texts = answer(part, self.options.fields)
        cited = [*self._cited(texts), *(found for path in self.options.ids for found in _there(part, path))]
        quoted = [found for path in self.options.quotes for found in _there(part, path)]
        linked = [Found(found.path, url) for found in texts for url in _urls(found.value)] if self.options.urls else []
        reasons = [*_unknown(cited, sources), *_unquoted(quoted, sources), *_unlinked(linked, sources)]
        if (count := len(cited) + len(quoted) + len(linked)) < self.options.least:
            reasons.append(Reason("too_few_citations", f"it has {count} citations, fewer than {self.options.least}"))
        return self.verdict(reasons)

    def _cited(self, texts: Iterable[Found]) -> Iterator[Found]:
        if self._marker is not None:
            for found in texts:
                for match in self._marker.finditer(found.value[:_LONGEST]):
                    yield Found(found.path, match[1])


def _there(part: Any, path: str) -> Iterator[Found]:
    for found in found_at(part, path):
        if found.there and str(found.value).strip():
            yield found


def _unknown(cited: Iterable[Found], sources: Mapping[str, str]) -> Iterator[Reason]:
    names = {name.casefold() for name in sources} | {str(number) for number in range(1, len(sources) + 1)}
    for found in cited:
        if str(found.value).strip().casefold() not in names:
            told = f"{place(found)} cites {shown(found.value)}, and there is no such source"
            yield Reason("unknown_source", told, found.path or None)


def _unquoted(quoted: Iterable[Found], sources: Mapping[str, str]) -> Iterator[Reason]:
    read = [words_of(text) for text in sources.values()]
    for found in quoted:
        if not any(holds(words, words_of(str(found.value))) for words in read):
            yield Reason(
                "not_in_source", f"{place(found)} quotes {shown(found.value)}, which no source says", found.path
            )


def _unlinked(linked: Iterable[Found], sources: Mapping[str, str]) -> Iterator[Reason]:
    known = {_bare(url) for text in (*sources, *sources.values()) for url in _urls(text)}
    for found in linked:
        if _bare(found.value) not in known:
            yield Reason(
                "unknown_address",
                f"{place(found)} links to {shown(found.value)}, which no source names",
                found.path or None,
            )


def _urls(text: str) -> list[str]:
    return [match[0].rstrip(".,;:!?") for match in _URL.finditer(text[:_LONGEST])]


def _bare(url: str) -> str:
    return url.partition("#")[0].rstrip("/").casefold()
