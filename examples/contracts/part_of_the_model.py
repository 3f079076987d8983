"""A model from a script: it reads contracts well, but for two mistakes that real models make at first, too.

It takes a long number for another one, and overlooks a line. Told what cannot be right, it looks again and gets both; a
date that the contract itself has wrong it cannot put right, and does not make one up.
"""

import re
from datetime import datetime
from typing import Any

from outlast.testing.providers import Reply, Request
from outlast.testing.providers.requests import text_of

FIELDS = {"property": "Property", "seller": "Seller", "buyer": "Buyer", "price": "Purchase price", "deposit": "Deposit"}
AMOUNT = re.compile(r"EUR \d[\d,]*\d")
DATE = re.compile(r"\d{1,2} [A-Z][a-z]+ \d{4}")
VAGUE = ("thereabouts", "or what", "about", "roughly")


def answer(request: Request) -> Reply:
    """Read the contract of the request."""
    texts = [text_of(message) for message in request.messages]
    contract = next(text for text in texts if "Property:" in text)
    reading = read(contract)
    if not any(text.startswith("Read it again") for text in texts) and "485,000" in contract:
        reading |= {"price": "EUR 845,000", "deposit": None}
    return Reply(structured=reading)


def read(contract: str) -> dict[str, Any]:
    """Return what the contract says."""
    lines = {name: _line(contract, label) for name, label in FIELDS.items()}
    amounts = {name: AMOUNT.search(lines[name] or "") for name in ("price", "deposit")}
    conditions = [line.removeprefix("- ") for line in contract.splitlines() if line.startswith("- ")]
    return {
        **lines,
        **{name: found and found[0] for name, found in amounts.items()},
        "closing": _day(_line(contract, "Closing") or ""),
        "contingencies": [{"what": line.partition(",")[0], "date": _day(line)} for line in conditions],
        "confidence": 0.4 if any(word in contract for word in VAGUE) else 0.95,
    }


def _line(contract: str, label: str) -> str | None:
    found = re.search(rf"^{label}: (.+)$", contract, re.MULTILINE)
    return found and found[1].strip()


def _day(text: str) -> str | None:
    found = DATE.search(text)
    return datetime.strptime(found[0], "%d %B %Y").date().isoformat() if found else None  # noqa: DTZ007 - a day
