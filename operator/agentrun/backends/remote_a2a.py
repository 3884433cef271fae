"""A remote agent, which is driven over A2A and stores its conversation itself."""

from agentrun.backends.backend import Backend

REMOTE_A2A = Backend("remote_a2a", is_remote=True)
