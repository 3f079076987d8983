"""The rule for names that clients choose: thread ids, sessions, users, idempotency keys."""

import unicodedata

from outlast.errors import InvalidInput

_MAX_CHARACTERS = 255


def check_name(name: str, *, field: str) -> str:
    """Return the name; raises InvalidInput unless it has 1 to 255 characters, none of them a control character.

    U+FFFD is refused too: it stands for text that was damaged on its way here, and two damaged names may look the same.
    """
    if not name:
        msg = f"{field} is empty; leave it out to have one made"
        raise InvalidInput(msg, field=field)
    if len(name) > _MAX_CHARACTERS:
        msg = f"{field} has {len(name):,} characters; at most {_MAX_CHARACTERS} are allowed"
        raise InvalidInput(msg, field=field)
    if not name.isprintable():
        _check_characters(name, field)
    if "\ufffd" in name:
        msg = f"{field} was not valid Unicode when it arrived"
        raise InvalidInput(msg, field=field)
    return name


def _check_characters(name: str, field: str) -> None:
    for position, character in enumerate(name):
        # Cc are the control characters, Cs lone surrogates, which PostgreSQL cannot store.
        if unicodedata.category(character) in {"Cc", "Cs"}:
            msg = f"{field} holds U+{ord(character):04X} at position {position}; a name has no control characters"
            raise InvalidInput(msg, field=field)
