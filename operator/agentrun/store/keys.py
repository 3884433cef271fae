"""The keys of blobs."""

import re

_KEY = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", re.ASCII)


def check(key: str) -> None:
    """Raise ValueError for a key that is not a plain path, or has a hidden part."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a valid blob key")


def above(key: str) -> list[str]:
    """List the folders above ``key``."""
    parts = key.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
