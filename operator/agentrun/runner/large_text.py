"""A text that is too large to be held in memory, passed around by its beginning."""

from pathlib import Path
from typing import Any


class LargeText(str):
    """
    The beginning of a text whose whole is in a file, in UTF-8, without secrets.

    Whoever knows nothing of it handles a string: what it makes of it is a preview. Whoever does
    keeps the whole, by a link to the file, which is there until the message is dealt with.
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
        """How many characters come after the beginning."""
        return self.total_chars - len(self)

    def __str__(self) -> str:
        # So that str(value), which is how fields of messages are read, keeps the whole.
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> "LargeText":
        return self
