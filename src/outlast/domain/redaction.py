"""Secrets taken out of texts that people read or that are kept: logs, errors, traces, audit entries.

What is known by its form is replaced (`sk-...`, `AKIA...`, a password in a URL), what is named like a secret
(`api_key=...`, `Authorization: Bearer ...`), and what looks random where a name before it says that it matters. It is a
net below, not a reason to pass secrets around: `outlast.Secret` does not let them get here.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log2
from typing import Any, Final, cast

MASK: Final = "***"
#: What the name of a field says that holds a secret, in lower case without `-` and `_`.
SECRET_NAMES: Final = (
    "apikey", "accesskey", "secret", "password", "passwd", "passphrase", "privatekey", "credential", "authorization",
    "accesstoken", "refreshtoken", "idtoken", "authtoken", "bearertoken", "sessiontoken", "apitoken", "clientsecret",
    "connectionstring", "databaseurl", "webhooksecret", "signingkey", "encryptionkey", "masterkey",
)  # fmt: skip
# Whole names: as part of a longer one they mean something else (`max_tokens`, `token_count`).
_WHOLE_NAMES: Final = frozenset({"token", "jwt", "bearer", "cookie", "setcookie", "pwd", "auth", "xapikey"})
#: Names that LangGraph and we give to `configurable` ourselves.
_OURS: Final = frozenset({"langgraphauthuser", "langgraphauthuserid", "langgraphauthpermissions"})

# By form, each behind a text that it holds: what does not hold that is not looked through.
_FORMS: Final = (
    # OpenAI, Anthropic, OpenRouter, DeepSeek, Stripe
    ("sk-", r"sk-(?:ant-|proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{16,}"),
    ("_live_", r"(?:sk|rk|pk)_live_[A-Za-z0-9]{16,}"),
    ("_test_", r"(?:sk|rk|pk)_test_[A-Za-z0-9]{16,}"),
    ("whsec_", r"whsec_[A-Za-z0-9+/=_-]{16,}"),
    # Of our own: `ok_<key id>_<secret>`
    ("ok_", r"ok_[A-Za-z0-9]{4,}_[A-Za-z0-9_-]{16,}"),
    # AWS, Google, Azure
    ("AKIA", r"AKIA[A-Z0-9]{16}"),
    ("ASIA", r"ASIA[A-Z0-9]{16}"),
    ("AIza", r"AIza[A-Za-z0-9_-]{35}"),
    ("ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    ("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    ("AccountKey=", r"AccountKey=[A-Za-z0-9+/=]{40,}"),
    ("sig=", r"sig=[A-Za-z0-9%+/]{40,}"),
    # GitHub, GitLab, npm, PyPI, Docker
    ("gh", r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{40,}"),
    ("glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
    ("npm_", r"npm_[A-Za-z0-9]{36}"),
    ("pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
    ("dckr_pat_", r"dckr_pat_[A-Za-z0-9_-]{20,}"),
    # Slack, Telegram, Discord, Twilio, SendGrid, Mailgun
    ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("hooks.slack.com", r"https://hooks\.slack\.com/services/[A-Za-z0-9/]+"),
    (":AA", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    ("SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("key-", r"\bkey-[0-9a-f]{32}\b"),
    # Hugging Face, Groq, xAI, Replicate, LangSmith, Tavily, Perplexity
    ("hf_", r"\bhf_[A-Za-z0-9]{20,}"),
    ("gsk_", r"\bgsk_[A-Za-z0-9]{20,}"),
    ("xai-", r"\bxai-[A-Za-z0-9]{20,}"),
    ("r8_", r"\br8_[A-Za-z0-9]{20,}"),
    ("tvly-", r"\btvly-[A-Za-z0-9-]{20,}"),
    ("pplx-", r"\bpplx-[A-Za-z0-9]{20,}"),
    ("lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    # Vault, Databricks, Shopify, DigitalOcean, Linear, Notion
    ("hv", r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    ("dapi", r"\bdapi[0-9a-f]{32}\b"),
    ("shp", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"),
    ("_v1_", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    ("lin_api_", r"\blin_api_[A-Za-z0-9]{32,}"),
    ("ntn_", r"\bntn_[A-Za-z0-9]{40,}"),
    ("secret_", r"\bsecret_[A-Za-z0-9]{40,}"),
    # JSON web tokens, PEM keys, age keys
    ("eyJ", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ("PRIVATE KEY", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}"),
)
_KNOWN: Final = tuple((hint, re.compile(form)) for hint, form in _FORMS)
# Password of a URL: everything between the colon and the last @ before the path.
_IN_URL: Final = re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"]*:)[^\s/'\"]+(?=@)", re.IGNORECASE)
_BEARER: Final = re.compile(r"(?P<before>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_NAME: Final = (
    r"(?:api[_-]?key|access[_-]?key|(?:access|refresh|auth|session|api|id)[_-]?token|client[_-]?secret|secret[_-]?key"
    r"|private[_-]?key|passw(?:or)?d|passphrase|pwd|secret|credentials?|authorization|x-api-key|password)"
)
_NAMED: Final = re.compile(
    rf"(?P<before>{_NAME}\\?['\"]?\s*[:=]\s*\\?['\"]?)(?P<value>[^\s'\"\\,;&)}}\]]{{4,}})", re.IGNORECASE
)
# A name that often means something harmless: only what looks random behind it is hidden.
_RANDOM: Final = re.compile(
    r"(?P<before>(?:token|key|cookie|signature|sig|auth)\\?['\"]?\s*[:=]\s*\\?['\"]?)"
    r"(?P<value>[A-Za-z0-9+/_=.-]{20,})",
    re.IGNORECASE,
)
_WORDS: Final = ("key", "token", "secret", "pass", "pwd", "credential", "auth", "cookie", "sig")
_RANDOM_BITS: Final = 3.5
# Beyond this the rest of a text is cut: whoever logs megabytes does not read them.
_LONGEST: Final = 256 * 1024


def redacted(text: str) -> str:
    """Return a text without what looks like a secret; what is around it stays, so that it can still be read."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    for hint, form in _KNOWN:
        if hint in text:
            text = form.sub(MASK, text)
    if "://" in text:
        text = _IN_URL.sub(rf"\g<before>{MASK}", text)
    lowered = text.lower()
    if "bearer" in lowered or "basic" in lowered:
        text = _BEARER.sub(rf"\g<before>{MASK}", text)
    if (":" in text or "=" in text) and any(word in lowered for word in _WORDS):
        text = _NAMED.sub(rf"\g<before>{MASK}", text)
        text = _RANDOM.sub(_if_random, text)
    return text


def redacted_value(value: Any, *, name: str = "") -> Any:
    """Return a value of whatever kind without secrets: by the names of its fields, and in its texts."""
    if name and value and not isinstance(value, bool) and secret_name(name):
        return MASK
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        return {key: redacted_value(inner, name=str(key)) for key, inner in entries}
    if isinstance(value, list | tuple):
        return [redacted_value(inner) for inner in cast("Sequence[Any]", value)]
    return value


def secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret: `openai_api_key`, `X-Api-Key`, `token`; not `max_tokens`."""
    plain = name.lower().replace("_", "").replace("-", "")
    return plain not in _OURS and (plain in _WHOLE_NAMES or any(word in plain for word in SECRET_NAMES))


def is_known_secret(text: str) -> bool:
    """Whether a text holds something that is known as a secret by its form."""
    return any(hint in text and form.search(text) for hint, form in _KNOWN)


def _if_random(match: "re.Match[str]") -> str:
    value = match["value"]
    return f"{match['before']}{MASK}" if _entropy(value) >= _RANDOM_BITS and _is_mixed(value) else match[0]


def _is_mixed(value: str) -> bool:
    return any(character.isdigit() for character in value) and any(character.isalpha() for character in value)


def _entropy(text: str) -> float:
    """Return the bits of each character, as far as the text itself tells."""
    return -sum(count / len(text) * log2(count / len(text)) for count in Counter(text).values())
