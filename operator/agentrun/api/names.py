"""The names of runs, which sort by time, of pods, of backend Secrets and of agents."""

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from secrets import token_bytes

MAX_RUN_NAME = 52
"""The limit with which ``-<attempt>`` and Kubernetes' suffixes still fit a label value."""

# base32hex preserves the sort order of the encoded data (RFC 4648, section 7).
_PREFIX = "run-"


def new_run_id(now: datetime, random: Callable[[int], bytes] = token_bytes) -> str:
    """Return a new run id that sorts by time: ``run-`` and a UUIDv7 (RFC 9562) in base32hex."""
    milliseconds = int(now.timestamp() * 1000)
    raw = bytearray(milliseconds.to_bytes(6, "big") + random(10))
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return _PREFIX + _encode(bytes(raw))


def run_id_for_key(namespace: str, caller: str, key: str) -> str:
    """Return the deterministic run id for an idempotency key of ``caller`` in ``namespace``."""
    digest = hashlib.sha256("\0".join((namespace, caller, key)).encode()).digest()
    return _PREFIX + "k" + _encode(digest[:16])


def unique_run_id(name: str, uid: str) -> str:
    """Return the run id that names one run for good: ``NAME@UID``."""
    return f"{name}@{uid}"


def parse_run_id(run_id: str) -> tuple[str, str]:
    """Parse a run id into the name and the uid; the uid is empty if the run id has none."""
    name, _, uid = run_id.partition("@")
    return name, uid


def pod_name(run: str, attempt: int) -> str:
    """Return the name of an attempt's pod."""
    return f"{run}-{attempt}"


_BACKEND_SECRET = "-agentrun-backend"


def backend_secret_name(run: str) -> str:
    """Return the name of the Secret with the credentials of a run's remote agent."""
    return f"{run}{_BACKEND_SECRET}"


def is_backend_secret(name: object) -> bool:
    """Whether a name is that of a backend Secret; a run may refer to no other Secret."""
    return isinstance(name, str) and re.fullmatch(rf"[a-z0-9-]+{_BACKEND_SECRET}", name) is not None


def giver_of(secret: object) -> str | None:
    """Return the run for which a backend Secret was created; None if it is no such Secret."""
    is_one = isinstance(secret, str) and is_backend_secret(secret)
    return str(secret).removesuffix(_BACKEND_SECRET) if is_one else None


def parse_pod_name(name: str) -> tuple[str, int] | None:
    """Parse the name of a run's pod into the run and the attempt; None if it is another name."""
    run, _, attempt = name.rpartition("-")
    return (run, int(attempt)) if run and attempt.isdecimal() else None


def agent_name(nickname: str) -> str:
    """Normalize a nickname to a Kubernetes name; empty if no valid character is left."""
    plain = re.sub(r"[^a-z0-9]+", "-", nickname.lower())
    return plain[:MAX_RUN_NAME].strip("-")


def _encode(raw: bytes) -> str:
    return base64.b32hexencode(raw).decode().rstrip("=").lower()
