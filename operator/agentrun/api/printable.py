"""Escaping of untrusted text for terminals."""

from unicodedata import category

_KEPT = "\n\t\u200d"


def printable(text: str) -> str:
    """
    Escape terminal control characters, and characters that reorder or hide text.

    Agents choose what is printed; without this they could overwrite the display, or set the
    clipboard.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable, text.replace("\r\n", "\n")))


def _printable(character: str) -> str:
    if character.isprintable() or character in _KEPT or category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()
