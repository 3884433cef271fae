"""The quantities that a pod accepts, and those that it refuses: models, CRD and chart follow it."""

from typing import Any

ACCEPTED: dict[str, tuple[Any, str]] = {
    "plain": ("2", "2"),
    "suffix": ("500m", "500m"),
    "binary-suffix": ("1.5Gi", "1.5Gi"),
    "nano": ("100n", "100n"),
    "exa": ("1E", "1E"),
    "integer": (2, "2"),
    "fraction": (0.5, "0.5"),
    "zero": (0, "0"),
    "bytes": (4294967296, "4294967296"),
    "float-of-bytes": (4e9, "4000000000"),
    "small-float": (1e-7, "0.0000001"),
    "smallest-float": (1e-300, "0.000000001"),
    "largest-float": (1e300, "9223372036854775807"),
    "exponent": ("4e9", "4000000000"),
    "exponent-upper-case": ("1E3", "1000"),
    "negative-exponent": ("12e-1", "1.2"),
    "sign": ("+1Gi", "1073741824"),
    "no-fraction": ("5.", "5"),
    "no-whole": (".5", "0.5"),
    "beyond-the-largest": ("1e99", "9223372036854775807"),
    "below-the-smallest": ("1e-99", "0.000000001"),
}
"""What is written, and what Python reads: the same quantity without sign and exponent."""

REFUSED: dict[str, Any] = {
    "word": "much",
    "empty": "",
    "negative": "-1",
    "negative-number": -1,
    "unknown-suffix": "1Kb",
    "two-suffixes": "1mm",
    "space": "1 Gi",
    "hexadecimal": "0x10",
    "boolean": True,
    "list": [],
    "object": {"value": 1},
}
