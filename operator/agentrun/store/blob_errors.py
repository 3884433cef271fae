"""Error messages for an unavailable folder or bucket."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from agentrun.store.base import StoreUnavailableError

_MESSAGE = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


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
    match = _MESSAGE.search(str(error))
    if match:
        return f"{match[2]} ({match[1]})"
    return str(error).partition("\n")[0]
