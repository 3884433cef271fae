"""
A text that is too large for memory: a preview, and the file with the whole.

It is no string, so that nothing uses its preview as the whole by accident: where a large text may
come, a signature says ``Text``, and code states whether it passes the whole on (``text_of``) or
uses the preview (``preview_of``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any


@dataclass(frozen=True, eq=False, repr=False)
class LargeText:
    """A text in a file, in UTF-8, without secrets. The file exists until the message is handled."""

    preview: str
    """The beginning of the text."""
    path: Path
    size: int
    """The size of the file in bytes."""
    length: int
    """The length of the text in characters."""
    media_type: str

    @property
    def left_out(self) -> int:
        """The number of characters after the preview."""
        return self.length - len(self.preview)

    @property
    def is_structure(self) -> bool:
        """Whether the text is an object or an array, as JSON, which was too large to be parsed."""
        return self.media_type == "application/json"

    def __str__(self) -> str:
        # Backends, which rest on the standard library, read the names in an agent's fields so.
        return self.preview

    def __repr__(self) -> str:
        # Part of the str of a structure, which must not contain the path.
        return repr(self.preview)

    def __deepcopy__(self, _: dict[int, Any]) -> "LargeText":
        # The copy of an event refers to the same text, of which one blob is stored.
        return self


Text = str | LargeText


def text_of(value: Any) -> Text:
    """Return a value of a message as text; a large text stays whole."""
    return value if isinstance(value, LargeText) else str(value)


def preview_of(value: Any) -> str:
    """Return a value of a message as text; of a large text only the preview."""
    return str(value)


def with_previews(value: Any, show: Callable[[LargeText], str] = attrgetter("preview")) -> Any:
    """Return a copy of a JSON value with what ``show`` returns in place of each large text."""
    if isinstance(value, LargeText):
        return show(value)
    if isinstance(value, dict):
        return {key: with_previews(item, show) for key, item in value.items()}
    if isinstance(value, list):
        return [with_previews(item, show) for item in value]
    return value
