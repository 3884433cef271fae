"""The keys of blobs."""

import re

_KEY = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", re.ASCII)


def check(key: str) -> None:
    """Refuse a key that is no plain path, or has a hidden part, with a ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a blob")


def above(key: str) -> list[str]:
    """Name the folders that ``key`` goes through."""
    parts = key.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
