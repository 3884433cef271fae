"""Any other program that implements ACP: its profile sets the command and the provider."""

from agentrun.backends.backend import Backend

ACP = Backend("acp")
