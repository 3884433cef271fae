"""Names: of runs, which sort by time, of pods, and of agents."""

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from secrets import token_bytes

MAX_RUN_NAME = 52
"""So that ``-<attempt>`` and what Kubernetes appends still fit a label value."""

# base32hex keeps the order of what it encodes (RFC 4648, section 7).
_PREFIX = "run-"


def new_run_id(now: datetime, random: Callable[[int], bytes] = token_bytes) -> str:
    """Make a run id that sorts by time: ``run-`` and a UUIDv7 (RFC 9562) in base32hex."""
    milliseconds = int(now.timestamp() * 1000)
    raw = bytearray(milliseconds.to_bytes(6, "big") + random(10))
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return _PREFIX + _encode(bytes(raw))


def run_id_for_key(namespace: str, caller: str, key: str) -> str:
    """Make the run id that ``caller`` always gets for ``key`` in ``namespace``."""
    digest = hashlib.sha256("\0".join((namespace, caller, key)).encode()).digest()
    return _PREFIX + "k" + _encode(digest[:16])


def pod_name(run: str, attempt: int) -> str:
    """Name the pod of an attempt."""
    return f"{run}-{attempt}"


_BACKEND_SECRET = "-agentrun-backend"


def backend_secret_name(run: str) -> str:
    """Name the Secret with what a run was given for its remote agent."""
    return f"{run}{_BACKEND_SECRET}"


def is_backend_secret(name: object) -> bool:
    """Whether a Secret may be one of those, and no other that somebody names in a run."""
    return isinstance(name, str) and re.fullmatch(rf"[a-z0-9-]+{_BACKEND_SECRET}", name) is not None


def giver_of(secret: object) -> str | None:
    """Name the run that was given what such a Secret holds; None if it is none of those."""
    is_one = isinstance(secret, str) and is_backend_secret(secret)
    return str(secret).removesuffix(_BACKEND_SECRET) if is_one else None


def parse_pod_name(name: str) -> tuple[str, int] | None:
    """Read the run and the attempt from a pod's name; None if it is not the name of a run's pod."""
    run, _, attempt = name.rpartition("-")
    return (run, int(attempt)) if run and attempt.isdecimal() else None


def agent_name(nickname: str) -> str:
    """Normalise a nickname to a Kubernetes name; empty if nothing of it can be one."""
    plain = re.sub(r"[^a-z0-9]+", "-", nickname.lower())
    return plain[:MAX_RUN_NAME].strip("-")


def _encode(raw: bytes) -> str:
    return base64.b32hexencode(raw).decode().rstrip("=").lower()
