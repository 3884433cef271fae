"""
The regular expressions of JSON Schema, which are JavaScript's (ECMA-262) and not Python's.

JSON Schema asks for the syntax with the flag ``u``: with it ``\\p{L}`` is a letter, and an escape
that means nothing is an error. Two errors are common and have one meaning, so they are accepted:
needless escapes of characters that are no letters (``\\-``, ``\\"``), and literal characters
without the escape that ``u`` requires (``[\\w-.]``, ``}``).

jsonschema has Python's module in each place where it looks for a pattern, and no way to say
otherwise. For use in a process that does nothing else.
"""

import os
import re
from collections.abc import Set
from functools import lru_cache
from typing import Any

import regress
from jsonschema import _keywords, _legacy_keywords, _utils

_SHOWN = 200
_ESCAPE = r"\\(?:[pP]\{[^}]*\}|u\{[^}]*\}|.)"
_IN_CLASS = re.compile(rf"{_ESCAPE}|.", re.DOTALL)
# {,3} has no meaning in JavaScript, and another one in Python: it stays, as an error.
_OUTSIDE = re.compile(rf"{_ESCAPE}|\{{\d*,?\d*\}}|.", re.DOTALL)
_SYNTAX = frozenset("^$\\.*+?()[]{}|/")
_SETS = frozenset(f"\\{letter}" for letter in "dDsSwWpP")


class _Expressions:
    """What jsonschema uses of the module ``re``."""

    def __init__(self, tried: int | None) -> None:
        self._tried = tried

    def search(self, pattern: str, text: str) -> Any:
        """Find the pattern in the text. ValueError if it is none."""
        expression = compiled(pattern)
        if self._tried is None:
            return expression.find(text)
        os.pwrite(self._tried, pattern[:_SHOWN].encode(errors="replace"), 0)
        found = expression.find(text)
        os.ftruncate(self._tried, 0)
        return found


def is_pattern(pattern: object) -> bool:
    """Say that a text is a pattern, or is no text. ValueError says why it is none."""
    if isinstance(pattern, str):
        compiled(pattern)
    return True


@lru_cache(maxsize=2048)
def compiled(pattern: str) -> regress.Regex:
    """Compile a pattern. ValueError says why it is none."""
    try:
        return regress.Regex(_strict(pattern), "u")
    except (regress.RegressError, UnicodeError) as error:
        raise ValueError(
            f"the pattern {pattern[:_SHOWN]!a} is not a regular expression of JavaScript"
            f" (ECMA-262, with the flag u): {error}"
        ) from error


def _strict(pattern: str) -> str:
    """Return the pattern with all the escapes that the flag ``u`` requires, and no others."""
    strict, at = list[str](), 0
    while match := _OUTSIDE.match(pattern, at):
        token, at = match[0], match.end()
        if token == "[":
            token, at = _class(pattern, at)
        elif token in ("{", "{}", "{,}", "}", "]"):
            token = "".join(f"\\{one}" if one in "{}]" else one for one in token)
        strict.append(_escape(token, _SYNTAX))
    return "".join(strict)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """Return the class whose content begins at ``at``, and where it ends."""
    atoms = list[str]()
    while (match := _IN_CLASS.match(pattern, at)) and match[0] != "]":
        atoms.append(_escape(match[0], _SYNTAX | {"-"}))
        at = match.end()
    for place, atom in enumerate(atoms):
        around = (*atoms[max(0, place - 1) : place], *atoms[place + 1 : place + 2])
        if atom == "-" and any(one[:2] in _SETS for one in around):
            # A set is neither the beginning nor the end of a range.
            atoms[place] = r"\-"
    end = pattern[at : at + 1]
    return f"[{''.join(atoms)}{end}", at + len(end)


def _escape(token: str, needed: Set[str]) -> str:
    """Return an escape without its backslash if that has no meaning; any other token as it is."""
    is_needless = len(token) == 2 and token[0] == "\\" and token[1] not in needed
    is_plain = is_needless and not (token[1].isascii() and token[1].isalnum())
    return token[1] if is_plain else token


def use(tried: int | None = None) -> None:
    """
    Have jsonschema read patterns so, from now on.

    While a pattern is searched for, its beginning is in the file ``tried``.
    """
    for module in (_keywords, _legacy_keywords, _utils):
        module.re = _Expressions(tried)  # type: ignore[attr-defined]
