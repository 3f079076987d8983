"""What a model is told of a tool: a failure in one line without secrets, a result of bounded size."""

import re
from typing import Any, Final, cast

_LONGEST_MESSAGE: Final = 500
# What is looked at of a message; beyond it, patterns would cost more than they tell.
_LONGEST_READ: Final = 8 * _LONGEST_MESSAGE
_TRACEBACK: Final = "Traceback (most recent call last)"
# A piece of text that is shorter tells nothing.
_LEAST_PIECE: Final = 200
_HIDDEN: Final = "***"

_NAMES: Final = (
    "(?:api|access|secret|private)[ _-]?key|token|secret|passw(?:or)?d|passphrase|pwd|authorization|cookie"
    "|credentials?|sig(?:nature)?"
)
# Names before the value they give away; then values that give themselves away.
_SECRETS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL, _HIDDEN),
        # postgresql://user:password@host, https://token@host
        (r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@'\"]{1,300}@", re.IGNORECASE, rf"\1{_HIDDEN}@"),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE, rf"\1 {_HIDDEN}"),
        (
            rf"({_NAMES})(['\"]?\s?[=:]\s?['\"]?)(?!(?:bearer|basic) \*)[^\s'\"&,;)}}\]]{{4,}}",
            re.IGNORECASE,
            rf"\1\2{_HIDDEN}",
        ),
        (r"\b(?:sk|pk|rk|whsec|lsv2|hf|glpat|github_pat|gh[pousr]|xox[abeprs])[-_][\w-]{8,}", 0, _HIDDEN),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{20,}|\bya29\.[\w-]{8,}", 0, _HIDDEN),
        (r"\beyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?", 0, _HIDDEN),
    )
)


def told(error: BaseException) -> str:
    """Return an error as a model reads it: its class and the beginning of its message, without secrets and stack."""
    kind, message = type(error).__name__, _short(redacted(_text(error)))
    return f"{kind}: {message}" if message else kind


def redacted(text: str) -> str:
    """Return the beginning of a text with `***` for passwords, tokens and keys, as far as they look like one."""
    text = text[:_LONGEST_READ]
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def cut(content: Any, limit_bytes: int) -> Any:
    """Return the content of a result within the limit, saying what was cut; the content itself when it fits.

    Of a text the beginning and the end stay. Of a list of blocks those stay that fit, in their order.
    """
    if isinstance(content, str):
        return _cut_text(content, limit_bytes)
    return _cut_blocks(cast("list[Any]", content), limit_bytes) if isinstance(content, list) else content


def size_of(content: Any) -> int:
    """Return the bytes of a text, a block, or a list of blocks."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "replace"))
    if isinstance(content, list):
        return sum(size_of(block) for block in cast("list[Any]", content))
    text = _text_of(content)
    return size_of(text if text is not None else repr(content))


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    # An error that cannot even be told is still one.
    except Exception:  # noqa: BLE001
        return ""
    before, stack, _ = text.partition(_TRACEBACK)
    if stack:
        # Its last line names the error, the others our directories.
        return before.strip() or text.rstrip().rsplit("\n", 1)[-1]
    return text.strip()


def _short(text: str) -> str:
    clean = text.replace("\x00", "").encode("utf-8", "replace").decode()
    return clean if len(clean) <= _LONGEST_MESSAGE else f"{clean[:_LONGEST_MESSAGE]}..."


def _cut_text(text: str, limit_bytes: int) -> str:
    # No character has more than four bytes.
    if len(text) * 4 <= limit_bytes:
        return text
    whole = text.encode("utf-8", "replace")
    if len(whole) <= limit_bytes:
        return text
    longest_note = len(_note(len(whole), len(whole)))
    kept = max(0, limit_bytes - longest_note)
    # The end often says how it ended.
    tail = kept // 4
    head = kept - tail
    note = _note(len(whole) - kept, len(whole))
    return f"{whole[:head].decode(errors='ignore')}{note}{whole[len(whole) - tail :].decode(errors='ignore')}"


def _note(cut_bytes: int, all_bytes: int) -> str:
    return f"\n[... {cut_bytes:,} of {all_bytes:,} bytes were cut out here, the result is too long ...]\n"


def _cut_blocks(blocks: list[Any], limit_bytes: int) -> list[Any]:
    sizes = [size_of(block) for block in blocks]
    if sum(sizes) <= limit_bytes:
        return blocks
    kept: list[Any] = []
    left, left_out = limit_bytes - _LEAST_PIECE, list[int]()
    for block, size in zip(blocks, sizes, strict=True):
        text = _text_of(block)
        if size <= left:
            kept.append(block)
            left -= size
        elif text is not None and left >= _LEAST_PIECE:
            kept.append(_with_text(block, _cut_text(text, left)))
            left = 0
        else:
            left_out.append(size)
    if left_out:
        note = f"[{len(left_out)} blocks with {sum(left_out):,} bytes were left out here, the result is too long]"
        kept.append({"type": "text", "text": note})
    return kept


def _text_of(block: Any) -> str | None:
    if isinstance(block, str):
        return block
    text: Any = cast("dict[str, Any]", block).get("text") if isinstance(block, dict) else None
    return text if isinstance(text, str) else None


def _with_text(block: Any, text: str) -> Any:
    return text if isinstance(block, str) else {**block, "text": text}
