"""
The regular expressions of JSON Schema, which are JavaScript's (ECMA-262) and not Python's.

jsonschema has Python's module in each place where it looks for a pattern, and no way to say
otherwise. For use in a process that does nothing else.
"""

from contextlib import suppress
from typing import Any

import regress
from jsonschema import _keywords, _legacy_keywords, _utils


class _Expressions:
    """What jsonschema uses of the module ``re``."""

    def search(self, pattern: str, text: str) -> Any:
        """Find the pattern in the text. ValueError if it is none."""
        return _compiled(pattern).find(text)


def is_pattern(pattern: object) -> bool:
    """Say that a text is a pattern, or is no text. ValueError says why it is none."""
    if isinstance(pattern, str):
        _compiled(pattern)
    return True


def _compiled(pattern: str) -> regress.Regex:
    # Escapes that mean nothing, such as \-, are errors there, and common.
    with suppress(regress.RegressError):
        return regress.Regex(pattern, "u")
    try:
        return regress.Regex(pattern)
    except regress.RegressError as error:
        raise ValueError(f"the pattern {pattern[:200]!r} is none: {error}") from error


def use() -> None:
    """Have jsonschema read patterns so, from now on."""
    for module in (_keywords, _legacy_keywords, _utils):
        module.re = _Expressions()  # type: ignore[attr-defined]
