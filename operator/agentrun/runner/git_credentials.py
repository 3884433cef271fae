"""
How git gets the credentials of the profile's Secret, and to whom it may show them.

A run names the repository, and its server may be anybody's. So a password is given out for the
hosts that the profile names and no others, wherever a server redirects to; and ssh speaks only to
servers whose key is known.
"""

import base64
import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from agentrun.api.v1alpha1 import AgentProfileSpec
from agentrun.runner.complaints import Credentials

_WEB_PORTS = (":443", ":80")

# git asks "Username for 'https://HOST': " and "Password for 'https://USER@HOST': ".
_ASKPASS = """#!/bin/sh
url=${1%\\'*}
host=${url#*://}
host=${host%%/*}
host=$(printf %s "${host##*@}" | tr A-Z a-z)
case " $AGENTRUN_GIT_HOSTS " in
*" $host "*) ;;
*) echo "the password is not for $host" >&2; exit 1 ;;
esac
cd "$AGENTRUN_GIT_CREDENTIALS" || exit 1
case $1 in
# A token is enough of a password for most servers, whatever the user.
Username*) if [ -e username ]; then cat username; else echo git; fi ;;
*) cat password ;;
esac
"""

# Nothing but what is said here: no config, no agent, no other way in, no question.
_SSH = (
    "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none"
    " -o PreferredAuthentications=publickey -o ConnectTimeout=30"
    " -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
    " -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null"
)


def kind_of(folder: Path) -> Credentials:
    """Tell what the mounted Secret holds."""
    if (folder / "ssh-privatekey").exists():
        is_locked = has_passphrase(_read_key(folder))
        return Credentials.LOCKED_KEY if is_locked else Credentials.KEY
    return Credentials.PASSWORD if (folder / "password").exists() else Credentials.NONE


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


def password_hosts(profile: AgentProfileSpec) -> set[str]:
    """List the hosts that the user and password may be sent to, as they stand in URLs."""
    own = profile.workspace.git.url if profile.workspace and profile.workspace.git else ""
    named = {host.lower() for host in (*profile.git.hosts, web_host(own)) if host}
    plain = {host.removesuffix(port) for host in named for port in _WEB_PORTS}
    return named | plain | {h + port for h in plain if ":" not in h for port in _WEB_PORTS}


def web_host(url: str) -> str:
    """Return the host, with its port, of an http or https URL; empty for any other."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2].lower() if parts.scheme in ("http", "https") else ""


def is_ssh(url: str) -> bool:
    """Whether git reaches ``url`` with ssh."""
    return url.startswith("ssh://") or ("://" not in url and ":" in url.partition("/")[0])


def password_env(own: Path, credentials: Path, hosts: Iterable[str]) -> dict[str, str]:
    """Make what lets git ask for user and password, in the runner's ``own`` folder."""
    askpass = own / "askpass"
    askpass.write_text(_ASKPASS, encoding="utf-8")
    askpass.chmod(0o700)
    return {
        "GIT_ASKPASS": str(askpass),
        "AGENTRUN_GIT_CREDENTIALS": str(credentials),
        "AGENTRUN_GIT_HOSTS": " ".join(sorted(hosts)),
    }


def ssh_env(own: Path, credentials: Path) -> dict[str, str]:
    """Make what lets git use ssh: with the Secret's key, to the Secret's hosts."""
    known = credentials / "known_hosts"
    words = [_SSH, f"-o UserKnownHostsFile={known if known.exists() else '/dev/null'}"]
    if (credentials / "ssh-privatekey").exists():
        words.append(f"-i {_private_key(own, credentials)}")
    return {"GIT_SSH_COMMAND": " ".join([*_account(own), *words])}


def _private_key(own: Path, credentials: Path) -> Path:
    # ssh refuses a key that others can read, as a mounted Secret is; one without its last
    # newline; and one with a line's end as on Windows.
    key = own / "ssh-key"
    key.touch(0o600)
    key.write_text(_read_key(credentials) + "\n", encoding="utf-8")
    return key


def _read_key(credentials: Path) -> str:
    text = (credentials / "ssh-privatekey").read_text(encoding="utf-8", errors="replace")
    return text.replace("\r\n", "\n").strip()


def _account(own: Path) -> list[str]:
    """Give the runner's uid an account, without which ssh does nothing, if it has none."""
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
