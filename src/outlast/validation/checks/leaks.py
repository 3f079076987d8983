"""`leaks`: personal data and secrets that an output gives away."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Final, cast

from pydantic import Field

from outlast.domain.redaction import is_known_secret, secret_name
from outlast.policies.detectors import found_in
from outlast.policies.walking import texts
from outlast.settings_policies import PersonalKind
from outlast.settings_validation import SeverityName
from outlast.validation.answers import MESSAGES, plain, spoken
from outlast.validation.checks.check import Check, CheckOptions
from outlast.validation.paths import Found, Path
from outlast.validation.validator import Reason, ValidationContext, Verdict

_ALL: Final[tuple[PersonalKind, ...]] = ("email", "phone", "credit_card", "iban", "ssn", "ip", "secret")


class LeaksOptions(CheckOptions):
    """The table."""

    severity: SeverityName = Field(default="high", description="of what it finds")
    kinds: tuple[PersonalKind, ...] = Field(default=_ALL, min_length=1, description="what is looked for")
    allow: tuple[str, ...] = Field(default=(), description="what may be said, as `*@example.com`")
    given: bool = Field(default=False, description="what the input holds may be said again; secrets never")
    fields: tuple[Path, ...] = Field(default=(), description="where it is looked for; none: in all that is said")


class Leaks(Check[LeaksOptions]):
    """Finds addresses, numbers of cards and accounts, keys and passwords. Reasons say the kind, and never what."""

    takes: ClassVar[type[CheckOptions]] = LeaksOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:
        """Look at each text."""
        known = "\n".join(texts(plain(context.input))) if self.options.given else ""
        part = self.part(output)
        said = spoken(part, self.options.fields)
        return self.verdict([*(reason for found in said for reason in self._in(found, known)), *self._named(part)])

    def _in(self, found: Found, known: str) -> Iterator[Reason]:
        text: str = found.value
        hits = found_in(text, self.options.kinds)
        kinds = {hit.kind for hit in hits if not self._may(text[hit.start : hit.end], hit.kind, known)}
        if "secret" in self.options.kinds and is_known_secret(text):
            kinds.add("secret")
        for kind in sorted(kinds):
            what = kind.replace("_", " ")
            yield Reason("leak", f"{found.path or 'the output'} gives away: {what}; leave it out", found.path or None)

    def _may(self, hit: str, kind: PersonalKind, known: str) -> bool:
        if any(fnmatchcase(hit.lower(), pattern.lower()) for pattern in self.options.allow):
            return True
        return kind != "secret" and bool(known) and hit in known

    def _named(self, part: Any) -> Iterator[Reason]:
        if "secret" in self.options.kinds and not self.options.fields:
            value = plain(part)
            if isinstance(value, dict):
                # What was said before in a conversation is not said now.
                value = {name: inner for name, inner in cast("dict[str, Any]", value).items() if name != MESSAGES}
            for path in _secret_fields(value, ""):
                yield Reason("leak", f"{path} is called like a secret and is not empty; leave it out", path)


def _secret_fields(value: Any, before: str) -> Iterator[str]:
    if isinstance(value, dict):
        children = [(str(name), inner) for name, inner in cast("dict[Any, Any]", value).items()]
    elif isinstance(value, list):
        children = [(str(number), inner) for number, inner in enumerate(cast("list[Any]", value))]
    else:
        return
    for name, inner in children:
        if isinstance(inner, str) and inner.strip("* ") and secret_name(name):
            yield f"{before}{name}"
        else:
            yield from _secret_fields(inner, f"{before}{name}.")
