"""A text that is too large for memory, represented by its beginning."""

from pathlib import Path
from typing import Any


class LargeText(str):
    """
    The beginning of a text that is stored completely in a file, in UTF-8, without secrets.

    Code that does not know this class handles it as a string, which is a preview. Other code keeps
    the complete text with a link to the file, which exists until the message has been processed.
    """

    __slots__ = ("media_type", "path", "total_bytes", "total_chars")
    path: Path
    total_bytes: int
    total_chars: int
    media_type: str

    @classmethod
    def of(
        cls, beginning: str, path: Path, total_bytes: int, total_chars: int, media_type: str
    ) -> "LargeText":
        """Describe the text in ``path``."""
        text = cls(beginning)
        text.path, text.media_type = path, media_type
        text.total_bytes, text.total_chars = total_bytes, total_chars
        return text

    @property
    def beginning(self) -> str:
        """The beginning alone, as an ordinary string."""
        return str.__str__(self)[:]

    @property
    def left_out(self) -> int:
        """The number of characters after the beginning."""
        return self.total_chars - len(self)

    def __str__(self) -> str:
        # So that str(value), with which fields of messages are read, keeps the complete text.
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> "LargeText":
        return self
