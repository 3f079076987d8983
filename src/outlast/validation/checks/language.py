"""`language`: answers in the language that is wanted."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from pydantic import Field, field_validator

from outlast.policies.walking import texts
from outlast.validation.answers import answer, kind_of, plain, text_of
from outlast.validation.checks.check import Check, CheckOptions, place
from outlast.validation.languages import KNOWN, language_of
from outlast.validation.paths import Path
from outlast.validation.validator import Reason, ValidationContext, Verdict

_AS_INPUT: Final = "input"


class LanguageOptions(CheckOptions):
    """The table."""

    language: tuple[str, ...] = Field(
        min_length=1, description='as `"en"` or `["en", "de"]`; `input`: that in which it was asked'
    )
    fields: tuple[Path, ...] = Field(default=(), description="each of them; none: the answer")

    @field_validator("language", mode="before")
    @classmethod
    def _as_list(cls, language: Any) -> Any:
        return (language,) if isinstance(language, str) else language

    @field_validator("language")
    @classmethod
    def _are_known(cls, language: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in language if name not in KNOWN and name != _AS_INPUT]:
            msg = f"{unknown[0]!r} is not known; it is one of {', '.join(sorted(KNOWN))}, or input"
            raise ValueError(msg)
        return language


class Language(Check[LanguageOptions]):
    """Finds texts in another language. One that is too short to tell is let pass."""

    takes: ClassVar[type[CheckOptions]] = LanguageOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:
        """Tell the language of each text by its letters and its small words."""
        wanted = [name for name in self.options.language if name != _AS_INPUT]
        if _AS_INPUT in self.options.language:
            asked = language_of(_asked(context))
            if asked is None and not wanted:
                return self.verdict([])
            wanted += [asked] if asked is not None else []
        return self.verdict(self._reasons(self.part(output), wanted))

    def _reasons(self, part: Any, wanted: list[str]) -> Iterator[Reason]:
        for found in answer(part, self.options.fields):
            language = language_of(found.value)
            if language is not None and language not in wanted:
                told = (
                    f"{place(found)} is in {KNOWN[language]}; write it in {' or '.join(KNOWN[name] for name in wanted)}"
                )
                yield Reason("language", told, found.path or None)


def _asked(context: ValidationContext) -> str:
    """Return what a person has said last; without a conversation, all texts of the input."""
    said = [message for message in context.messages if kind_of(message) in {"human", "user"}]
    return text_of(said[-1]) if said else "\n".join(texts(plain(context.input)))
