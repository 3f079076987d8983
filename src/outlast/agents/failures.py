"""What an exception of a graph means for its run: again, or a person has to look."""

from dataclasses import replace
from datetime import timedelta
from typing import cast

from langgraph.errors import EmptyInputError, GraphRecursionError, InvalidUpdateError
from pydantic import ValidationError

from outlast.domain.outcome import Failed
from outlast.domain.redaction import redacted
from outlast.errors import AgentLoadError, OutlastError, ProviderUnavailable

# The same code and input fail the same way each time; trying again only delays the news.
_HOPELESS = (
    AttributeError,
    EmptyInputError,
    GraphRecursionError,
    ImportError,
    InvalidUpdateError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValidationError,
)
_LONGEST_MESSAGE = 2000
# What a provider asks for may be days; a person may have made room by then.
_LONGEST_WAIT = timedelta(minutes=5)


def classify(error: BaseException) -> Failed:
    """Name the error and say whether another attempt can help."""
    message = _clean(redacted(_text(error)) or type(error).__name__)
    if isinstance(error, AgentLoadError) and error.__cause__ is not None:
        # A factory that connects to something may find it there the next time.
        return replace(classify(error.__cause__), code=error.code, message=message)
    if isinstance(error, ProviderUnavailable):
        # An attempt that begins before the model can answer is an attempt for nothing, and there are few.
        wait = min(_LONGEST_WAIT, timedelta(seconds=error.retry_after or 0))
        return Failed(code=error.code, message=message, retryable=error.retryable, wait=wait)
    if isinstance(error, OutlastError):
        return Failed(code=error.code, message=message, retryable=error.retryable)
    if isinstance(error, BaseExceptionGroup):
        return classify(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return Failed(
        code=type(error).__name__,
        message=f"{type(error).__name__}: {message}",
        retryable=not isinstance(error, _HOPELESS),
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    # An error that cannot even be told must not take the news of itself away.
    except Exception:  # noqa: BLE001
        return ""


def _clean(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:_LONGEST_MESSAGE]
