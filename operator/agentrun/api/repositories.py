"""
Matching of git repository URLs and branch names against the lists of a profile. Pure.

Standard library only: git starts a program that imports this module for each password.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

REPOSITORY = r"^((https?|ssh|git)://[^- ][^ ?#]*|[A-Za-z0-9._-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^ ]+)$"
"""The form of an entry of `git.repositories`."""
BRANCHES = r"^[^- ~^:?\[\\][^ ~^:?\[\\]*$"
"""The form of an entry of `git.branches`."""

_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_SCP = re.compile(r"(?:([^@/:]+)@)?([^@/:]+):(.*)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """The normalized address of a repository, or of a folder of repositories."""

    scheme: str
    user: str
    host: str
    port: int | None
    path: tuple[str, ...]

    @property
    def account(self) -> str:
        """The account whose permissions apply: the ssh user; empty if the password decides."""
        return (self.user or "git") if self.scheme == "ssh" else ""

    def covers(self, other: "Address") -> bool:
        """Whether ``other`` is the same repository, or one in this folder."""
        here = (self.scheme, self.account, self.host, self.port)
        there = (other.scheme, other.account, other.host, other.port)
        return here == there and other.path[: len(self.path)] == self.path


def address_of(url: str) -> Address | None:
    """Parse a URL or ``USER@HOST:PATH``; None if it is invalid or its path is ambiguous."""
    if "://" not in url:
        found = _SCP.fullmatch(url)
        if found is None:
            return None
        user, host, path = found.groups()
        return _address("ssh", user or "", host, None, path)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return None
    return _address(parts.scheme, parts.username or "", parts.hostname or "", port, parts.path)


def _address(scheme: str, user: str, host: str, port: int | None, path: str) -> Address | None:
    text = unquote(path)
    segments = text.removeprefix("/").removesuffix("/").split("/")
    if segments == [""]:
        segments = []
    if segments:
        segments[-1] = segments[-1].removesuffix(".git")
    is_plain = text.isprintable() and not any(one in text for one in "%\\?#")
    if not is_plain or any(segment in ("", ".", "..") for segment in segments):
        return None
    known = port or _PORTS.get(scheme.lower())
    return Address(scheme.lower(), user, host.lower(), known, tuple(segments))


def is_covered(url: str, listed: Iterable[str]) -> bool:
    """Whether a repository is one of ``listed``, or in one of the listed folders."""
    address = address_of(url)
    places = (address_of(one) for one in listed)
    return address is not None and any(one.covers(address) for one in places if one)


def is_same(url: str, other: str) -> bool:
    """Whether two URLs refer to the same repository."""
    one, two = address_of(url), address_of(other)
    return one is not None and two is not None and one.covers(two) and two.covers(one)


def is_secret_on_the_way(url: str) -> bool:
    """Whether data sent to ``url`` is encrypted in transit: http and git are in clear."""
    address = address_of(url)
    return address is not None and address.scheme not in ("http", "git")


def is_branch_in(branch: str, patterns: Iterable[str]) -> bool:
    """Whether a branch's name matches one of ``patterns``; ``*`` matches any characters."""
    return any(_fits(branch, pattern) for pattern in patterns)


def _fits(branch: str, pattern: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), branch))
