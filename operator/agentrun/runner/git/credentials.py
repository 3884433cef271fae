"""
How git gets the credentials of the profile's Secret, and which servers they are sent to.

The caller chooses a run's repository, so its server is untrusted. A password is provided only for
the repositories that the profile names, regardless of a server's redirects. The ssh key is provided
only for those, and ssh connects only to servers whose host key is known.
"""

import base64
import os
import pwd
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import agentrun
from agentrun.runner.git import credential_helper
from agentrun.runner.git.errors import CredentialKind

# Only these settings: no config file, no ssh-agent, no other authentication, no prompts.
_SSH = (
    "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none"
    " -o PreferredAuthentications=publickey -o ConnectTimeout=30"
    " -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
    " -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null"
)


def kind_of(folder: Path) -> CredentialKind:
    """Return the kind of credentials that the mounted Secret holds."""
    if (folder / "ssh-privatekey").exists():
        is_locked = has_passphrase(_read_key(folder))
        return CredentialKind.LOCKED_KEY if is_locked else CredentialKind.KEY
    return CredentialKind.PASSWORD if (folder / "password").exists() else CredentialKind.NONE


def has_passphrase(key: str) -> bool:
    """Whether a private key is encrypted: in OpenSSH's own form (its PROTOCOL.key), or in PEM."""
    if "ENCRYPTED" in key:
        return True
    lines = [line for line in key.splitlines() if not line.startswith("-----")]
    try:
        raw = base64.b64decode("".join(lines))
    except ValueError:
        return False
    magic, cipher = b"openssh-key-v1\0", b"\0\0\0\4none"
    return raw.startswith(magic) and not raw.startswith(magic + cipher)


def is_web(url: str) -> bool:
    """Whether git reaches ``url`` over http or https."""
    return urlsplit(url).scheme.lower() in ("http", "https")


def is_ssh(url: str) -> bool:
    """Whether git reaches ``url`` over ssh."""
    return url.startswith("ssh://") or ("://" not in url and ":" in url.partition("/")[0])


def password_env(credentials: Path, repositories: Iterable[str]) -> dict[str, str]:
    """Return the environment with which git gets user and password, for ``repositories`` only."""
    root = Path(agentrun.__file__).parents[1]
    # -P: git may run it in a folder of the agent, from which nothing must be imported.
    words = ["env", f"PYTHONPATH={root}", sys.executable, "-P", "-m", credential_helper.__name__]
    # Precedence as on the command line: over the config of any repository. The empty value first
    # removes the helpers that such a config may name.
    config = {
        "credential.helper": ["", f"!{shlex.join(words)}"],
        "credential.useHttpPath": ["true"],
    }
    pairs = [(key, value) for key, values in config.items() for value in values]
    numbered = {
        f"GIT_CONFIG_{kind}_{number}": text
        for number, pair in enumerate(pairs)
        for kind, text in zip(("KEY", "VALUE"), pair, strict=True)
    }
    return {
        "GIT_CONFIG_COUNT": str(len(pairs)),
        **numbered,
        credential_helper.CREDENTIALS: str(credentials),
        credential_helper.REPOSITORIES: " ".join(repositories),
    }


def ssh_env(own: Path, credentials: Path, with_key: bool) -> dict[str, str]:
    """Return git's environment for ssh: the Secret's known hosts, and ``with_key`` its key."""
    known = credentials / "known_hosts"
    words = [_SSH, f"-o UserKnownHostsFile={known if known.exists() else '/dev/null'}"]
    if with_key and (credentials / "ssh-privatekey").exists():
        words.append(f"-i {_private_key(own, credentials)}")
    return {"GIT_SSH_COMMAND": " ".join([*_account(own), *words])}


def _private_key(own: Path, credentials: Path) -> Path:
    # ssh refuses a key that others can read, as a mounted Secret is; one without its last
    # newline; and one with Windows line ends.
    key = own / "ssh-key"
    key.touch(0o600)
    key.write_text(_read_key(credentials) + "\n", encoding="utf-8")
    return key


def _read_key(credentials: Path) -> str:
    text = (credentials / "ssh-privatekey").read_text(encoding="utf-8", errors="replace")
    return text.replace("\r\n", "\n").strip()


def _account(own: Path) -> list[str]:
    """Return a command prefix that gives the runner's uid an account: ssh fails without one."""
    user = os.getuid()
    try:
        pwd.getpwuid(user)
    except KeyError:
        passwd, group = own / "passwd", own / "group"
        passwd.write_text(f"runner:x:{user}:{os.getgid()}::{own}:/bin/sh\n", encoding="utf-8")
        group.write_text(f"runner:x:{os.getgid()}:\n", encoding="utf-8")
        files = (f"NSS_WRAPPER_PASSWD={passwd}", f"NSS_WRAPPER_GROUP={group}")
        return ["env", "LD_PRELOAD=libnss_wrapper.so", *files]
    return []
