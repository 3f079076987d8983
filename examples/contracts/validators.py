"""A rule that only this project has."""

from decimal import Decimal
from typing import Any

import outlast


class Deposit(outlast.Validator):
    """The deposit is a tenth of the price, or less."""

    name = "deposit"

    def validate(self, output: Any, context: outlast.ValidationContext) -> outlast.Valid | outlast.Invalid:  # noqa: ARG002
        price, deposit = amount(output.get("price")), amount(output.get("deposit"))
        # What is missing is told by `required`.
        if price is None or deposit is None or deposit <= price / 10:
            return outlast.Valid()
        reason = outlast.Reason("deposit", f"a deposit of {deposit:,} is more than a tenth of {price:,}", "deposit")
        return outlast.Invalid([reason])


def amount(text: Any) -> Decimal | None:
    """Read `EUR 485,000`."""
    digits = "".join(found for found in str(text or "") if found.isdigit())
    return Decimal(digits) if digits else None
