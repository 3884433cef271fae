"""Explains git's error messages to the owners of profiles, who can fix the cause."""

import re
from enum import Enum


class CredentialKind(Enum):
    """The kind of credentials in the profile's git Secret."""

    NONE = "none"
    PASSWORD = "password"
    KEY = "key"
    LOCKED_KEY = "locked key"
    """An ssh key with a passphrase: ssh skips it without a message."""


_FIELD = "the profile's git.credentialsSecret"
_ASKED = re.compile(r"could not read (Username|Password)|terminal prompts disabled")
_NOT_FOR = re.compile(r"the password is not for (\S+)")
KEYS = (CredentialKind.KEY, CredentialKind.LOCKED_KEY)
_NO_PASSWORD = (
    f"The server asks for a user and password, and the Secret in {_FIELD} holds an ssh key: use the"
    " repository's ssh URL, or another Secret."
)
_WANTED = {
    CredentialKind.NONE: f"The server asks for credentials: name a Secret with them in {_FIELD}.",
    **dict.fromkeys(KEYS, _NO_PASSWORD),
}
_LOCKED = (
    f"The ssh key in {_FIELD} is protected by a passphrase, which cannot be entered here: use a key"
    " without one."
)
_KEY_REFUSED = r"Permission denied \("
# The first match counts, so specific messages come before general ones.
_COMPLAINTS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The server's host key differs from the one in the Secret's known_hosts. Either the server"
        " has a new key, or another machine answers in its place: ask the server's owner.",
    ),
    (
        r"Host key verification failed",
        "The server's host key is not in the Secret's known_hosts, so the server cannot be"
        " verified. Add the key that the server's owner publishes.",
    ),
    (
        r"Load key .*(invalid format|error in libcrypto)",
        f"The ssh-privatekey of the Secret in {_FIELD} is not a private key.",
    ),
    (
        _KEY_REFUSED,
        f"The server does not accept the ssh key in {_FIELD}, or not for this repository.",
    ),
    (
        r"Authentication failed for|returned error: 401",
        f"The server refuses the user and password in {_FIELD}.",
    ),
    (
        r"returned error: 403",
        "The server forbids this: the credentials lack a permission (docs/git.md lists the"
        " scopes), or a proxy blocks the request.",
    ),
    (
        r"from proxy after CONNECT|CONNECT tunnel failed|resolve proxy",
        "The profile's network.proxy blocks the request.",
    ),
    (
        r"certificate verification failed|SSL certificate problem|certificate.*not trusted",
        "The server's certificate is signed by an authority that is not trusted: add the authority"
        " to the profile's network.caBundle.",
    ),
)


def explain(complaint: str, credentials: CredentialKind) -> str:
    """Prepend the cause to git's message, if the cause is known."""
    cause = _cause(complaint, credentials)
    return f"{cause} git reports: {complaint}" if cause else complaint


def _cause(complaint: str, credentials: CredentialKind) -> str:
    host = _NOT_FOR.search(complaint)
    if host:
        return (
            f"The server asks for a user and password, and those in {_FIELD} are not for"
            f" {host[1]}: the profile's git.repositories lists what they are for, and they are"
            " never sent over http."
        )
    if _ASKED.search(complaint) and credentials in _WANTED:
        return _WANTED[credentials]
    if "Host key verification failed" in complaint and credentials not in KEYS:
        return f"ssh needs a key: name a Secret of type kubernetes.io/ssh-auth in {_FIELD}."
    if credentials is CredentialKind.LOCKED_KEY and re.search(_KEY_REFUSED, complaint):
        return _LOCKED
    return next((cause for pattern, cause in _COMPLAINTS if re.search(pattern, complaint)), "")
