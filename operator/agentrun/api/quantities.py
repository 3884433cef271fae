"""Kubernetes quantities: what a pod accepts as one, and arithmetic with those of bytes."""

import re
from decimal import ROUND_CEILING, Decimal, localcontext
from math import ceil
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SCALES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
_NUMBER = "[0-9]+[.]?[0-9]*|[.][0-9]+"
PATTERN = rf"^[+]?({_NUMBER})([KMGTPE]i|[numkMGTPE]|[eE][+-]?0*[0-9]{{1,2}})?$"
"""What a pod accepts as a string; Kubernetes reads larger exponents as the largest number."""
_MAX_LENGTH = 64
# What the runner of every version can parse, and what is said to a person.
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?")
# Kubernetes' own limits: an int64, and whole billionths, rounded up.
_MAX_NUMBER = 2**63 - 1
_MAX = Decimal(_MAX_NUMBER)
_STEP = _SCALES["n"]


def _plain(value: Any) -> str:
    """Return a quantity without sign and exponent; Kubernetes reads the same value from it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and value >= 0:
        return _decimal(str(min(value, _MAX_NUMBER)))
    written = str(value) if is_number else value
    if not isinstance(written, str) or len(written) > _MAX_LENGTH:
        raise ValueError(f"a quantity must be a number, or a string such as 500m or 4Gi: {value!r}")
    if not re.fullmatch(PATTERN, written):
        raise ValueError(f"{value!r} is not a quantity: write a number, or one such as 500m or 4Gi")
    return written if _PLAIN.fullmatch(written) else _decimal(written)


def _decimal(written: str) -> str:
    """Return a quantity as a decimal number, within the limits of Kubernetes."""
    with localcontext(prec=_MAX_LENGTH):
        value = parse(written)
        if value > _MAX:
            return str(_MAX)
        exact = _STEP if 0 < value < _STEP else value.quantize(_STEP, ROUND_CEILING)
    whole, _, fraction = f"{exact:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0')}".rstrip(".")


Quantity = Annotated[
    str,
    BeforeValidator(_plain),
    WithJsonSchema(
        {
            # x-kubernetes-int-or-string refuses 0.5, which a pod accepts. A structural schema
            # without a type may be limited by value only.
            "x-kubernetes-preserve-unknown-fields": True,
            "pattern": PATTERN,
            "maxLength": _MAX_LENGTH,
            "minimum": 0,
            "maxItems": 0,
            "maxProperties": 0,
            "not": {"enum": [True, False, [], {}]},
        }
    ),
]
"""A quantity, given as a number or a string; in Python a string without sign and exponent."""


def total(*quantities: str) -> str:
    """Return the sum of quantities in whole mebibytes, rounded up."""
    mebibytes = sum((parse(quantity) for quantity in quantities), Decimal(0)) / _SCALES["Mi"]
    return f"{ceil(mebibytes)}Mi"


def parse(quantity: str) -> Decimal:
    """Parse a quantity."""
    number = quantity.rstrip("numkKMGTPEi")
    return Decimal(number) * _SCALES[quantity[len(number) :]]
