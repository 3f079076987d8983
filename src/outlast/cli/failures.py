"""How an error ends a command: one message, one exit status."""

from typing import Any, Final

from outlast.errors import (
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    OutlastError,
    StateError,
)

# 65 and up are those of sysexits.h; 2 is what the argument parser uses too.
EXIT_CODES: Final[dict[type[OutlastError], int]] = {
    ConfigurationError: 2,
    InvalidInput: 2,
    NotFound: 4,
    Conflict: 5,
    StateError: 65,
    DatabaseUnavailable: 69,
    OutlastError: 1,
}


def exit_code(error: OutlastError) -> int:
    """Return the status of the nearest class in the table."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def wrong_usage(error: Any) -> str:
    """Return what is wrong with the arguments, without how the parser found out, and which commands there are."""
    told = str(error.message).replace("Value error, ", "", 1)
    if not told.startswith("No such command"):
        return told
    known = [name for name, command in error.ctx.command.commands.items() if not command.hidden]
    return f"{told} There are {', '.join(known)}; `{error.ctx.command_path} --help` says what they do."


def message(error: OutlastError) -> str:
    """Return what a person reads. Who runs commands may know which server refused, other than a client of the API."""
    if isinstance(error, DatabaseUnavailable) and error.__cause__ is not None:
        # libpq names host and port, never the password.
        return f"{error}\n  {error.__cause__}"
    return str(error)
