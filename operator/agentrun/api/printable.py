"""Text of strangers, made safe for a terminal."""

from unicodedata import category

_KEPT = "\n\t\u200d"


def printable(text: str) -> str:
    """
    Write what a terminal would obey, and what reorders or hides text, as an escape.

    Agents choose what is printed; without this they could paint over what is shown, or set the
    clipboard.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable, text.replace("\r\n", "\n")))


def _printable(character: str) -> str:
    if character.isprintable() or character in _KEPT or category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()
