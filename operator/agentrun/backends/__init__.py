"""
The backends: the kinds of agent that a run can name in ``spec.backend``.

Each has a module here with its ``Backend``. No other code distinguishes backends by their names.
"""

from collections.abc import Mapping

from agentrun.backends.acp import ACP
from agentrun.backends.backend import Backend
from agentrun.backends.claude_code import CLAUDE_CODE
from agentrun.backends.codex import CODEX
from agentrun.backends.gemini import GEMINI
from agentrun.backends.opencode import OPENCODE
from agentrun.backends.remote_a2a import REMOTE_A2A

BACKENDS: Mapping[str, Backend] = {
    one.name: one for one in (CODEX, CLAUDE_CODE, OPENCODE, GEMINI, ACP, REMOTE_A2A)
}
"""All backends by name, in the order of the API."""
DEFAULT = CODEX
"""The backend for callers who do not choose one."""
EXTENSIONS = tuple(one.extensions for one in BACKENDS.values())
"""
The extensions of all backends. Whatever an agent reports is read in all of these ways: a profile's
command may start an agent of another kind, or a fork of one.
"""


def backend_of(name: str) -> Backend:
    """Return the backend of that name; ``acp`` if it is not known."""
    return BACKENDS.get(name, ACP)
