"""Labels and annotations of pods: what Kubernetes accepts, and which are AgentRun's own."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
KEY = f"^({_SUBDOMAIN}/)?{_NAME}$"
"""The key of a label or an annotation."""
COPIED_KEY = f"^({_SUBDOMAIN}/({_NAME})?|{_NAME})$"
"""A complete key, or a prefix of keys with its slash."""
OWN = r"^([-a-z0-9.]*[.])?agentrun[.]dev/"
"""The beginning of the keys that are AgentRun's own."""
MAX_PREFIX = 253
MAX_KEY = MAX_PREFIX + 1 + 63

LabelValue = Annotated[str, Field(max_length=63, pattern=f"^({_NAME})?$")]
Labels = Annotated[dict[str, LabelValue], Field(max_length=32)]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=16384)]], Field(max_length=32)]


def key_refusal(keys: Iterable[str]) -> str:
    """Return why one of the keys cannot be set on pods; empty if all can."""
    for key in keys:
        if re.match(OWN, key):
            return f"{key} is one of AgentRun's own keys"
        is_long = len(key) > MAX_KEY or key.find("/") > MAX_PREFIX
        if is_long or not re.fullmatch(KEY[1:-1], key):
            return f"{key[:MAX_KEY]!r} is not a valid key of a label or annotation"
    return ""


def copied(metadata: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """Return those of a run's labels or annotations that ``keys`` name, without AgentRun's own."""
    allowed = tuple(keys)
    prefixes = tuple(key for key in allowed if key.endswith("/"))
    return {
        key: value
        for key, value in metadata.items()
        if (key in allowed or key.startswith(prefixes)) and not re.match(OWN, key)
    }
