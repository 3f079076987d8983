"""Whether an agent said that it cannot, or will not: told by the provider's mark, or by how its answer begins.

Only the beginning counts, and only of an answer that does not go on for long: "I'm sorry for the delay. Your order..."
is none, and neither is a report on somebody who refused. English, German, French and Spanish.
"""

import re
from typing import Any, Final, cast

from outlast.validation.paths import looked_up

# An answer that is longer has said something beside the refusal.
_LONGEST: Final = 1_200
_BEGINNING: Final = 240
_SORRY: Final = (
    r"(?:(?:i'?m|i am|we'?re|we are) (?:very |so |really )?(?:sorry|afraid)|sorry|unfortunately"
    r"|i apologi[sz]e|i regret|es tut mir leid|tut mir leid|leider|désolée?|je suis désolée?|malheureusement"
    r"|lo siento|lamentablemente)"
    r"[^.!?\n]{0,60}?[,;.:!]?\s*(?:but |aber |mais |pero |that )?"
)
_CANNOT: Final = (
    r"(?:i|we)(?:'m| am|'re| are)? (?:can(?:no|')t|can not|could(?:n't| not)|won'?t|will not"
    r"|do(?:n't| not) feel able to|must decline|have to decline|decline|refuse|unable|not able|not allowed"
    r"|not permitted|not comfortable)\b"
    r"|i'?m (?:just )?an? (?:ai|language model)|as an? (?:ai|language model)"
    r"|(?:dabei|das|hier(?:bei)?|damit|ihnen|dir)?\s*(?:kann|darf|werde) ich (?:\w+ ){0,4}(?:nicht|keine?n?)\b"
    r"|ich (?:kann|darf|werde) (?:\w+ ){0,4}(?:nicht|keine?n?)\b"
    r"|je ne (?:peux|suis) pas|je refuse|no puedo|no podemos|me niego"
)
_REFUSAL: Final = re.compile(rf"^\W*+(?:{_SORRY})?(?:{_CANNOT})", re.IGNORECASE)
_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u2018": "'"})
# Where providers say that the model, or their filter, did not let the answer through.
_MARKS: Final = ("response_metadata.stop_reason", "response_metadata.finish_reason", "additional_kwargs.stop_reason")
_REFUSED: Final = frozenset({"refusal", "content_filter", "SAFETY", "PROHIBITED_CONTENT"})


def refuses(text: str, message: Any = None) -> bool:
    """Whether this is a refusal: by the text, or by what the provider says of the message that it stands in."""
    if message is not None and _is_marked(message):
        return True
    beginning = text[:_BEGINNING].translate(_APOSTROPHES)
    return len(text) <= _LONGEST and _REFUSAL.match(beginning) is not None


def _is_marked(message: Any) -> bool:
    if looked_up(message, "additional_kwargs.refusal"):
        return True
    if any(looked_up(message, path) in _REFUSED for path in _MARKS):
        return True
    content = looked_up(message, "content")
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    return any(looked_up(block, "type") == "refusal" for block in blocks)
