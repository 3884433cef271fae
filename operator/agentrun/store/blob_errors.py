"""Error messages for an unavailable folder or bucket."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from agentrun.store.base import StoreUnavailableError

_SAID = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """
    Raise StoreUnavailableError for errors of the disk, the network or the server of ``where``.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        raise StoreUnavailableError(
            f"The blob store at {where} is unavailable: {_why(error)}"
        ) from error


def _why(error: Exception) -> str:
    """Return the relevant part of a long error: the server's own message, else the first line."""
    said = _SAID.search(str(error))
    if said:
        return f"{said[2]} ({said[1]})"
    return str(error).partition("\n")[0]
