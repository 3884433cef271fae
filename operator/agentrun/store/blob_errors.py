"""Saying why a folder or a bucket cannot be used."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from agentrun.store.base import StoreUnavailableError

_SAID = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Say that ``where`` is away whenever its disk, its network or its server says so."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise StoreUnavailableError(
            f"The blobs at {where} cannot be used just now: {_why(error)}"
        ) from error


def _why(error: Exception) -> str:
    """Pick what says something from many lines: the server's own words, if there are any."""
    said = _SAID.search(str(error))
    if said:
        return f"{said[2]} ({said[1]})"
    return str(error).partition("\n")[0]
