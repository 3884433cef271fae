"""Arithmetic with Kubernetes quantities of bytes."""

from decimal import Decimal
from math import ceil

_SCALES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def total(*quantities: str) -> str:
    """Return the sum of quantities in whole mebibytes, rounded up."""
    mebibytes = sum((parse(quantity) for quantity in quantities), Decimal(0)) / _SCALES["Mi"]
    return f"{ceil(mebibytes)}Mi"


def parse(quantity: str) -> Decimal:
    """Parse a quantity."""
    number = quantity.rstrip("numkKMGTPEi")
    return Decimal(number) * _SCALES[quantity[len(number) :]]
