"""The operator's settings, in environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentrun.api import pod_layout
from agentrun.backends import backend_of

PATIENCE_SECONDS = 600.0
"""The timeout for an unavailable gateway when the attempt depends on nothing else."""
IDLE_SECONDS = 1800.0
"""How long a pod is kept for a person's answer, unless the operator sets it."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings, in environment variables."""

    gateway_url: str
    run: str
    attempt: int
    backend: str
    provider: str | None
    grace: float
    patience: float = PATIENCE_SECONDS
    idle: float = IDLE_SECONDS

    @property
    def is_remote(self) -> bool:
        """Whether the agent is remote, and not in the pod."""
        return backend_of(self.backend).is_remote

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables."""
        return cls(
            gateway_url=env[pod_layout.ENV_GATEWAY],
            run=env[pod_layout.ENV_RUN],
            attempt=int(env[pod_layout.ENV_ATTEMPT]),
            backend=env[pod_layout.ENV_BACKEND],
            provider=env.get(pod_layout.ENV_PROVIDER),
            grace=float(env.get(pod_layout.ENV_GRACE, "30")),
            patience=float(env.get(pod_layout.ENV_PATIENCE, PATIENCE_SECONDS)),
            idle=float(env.get(pod_layout.ENV_IDLE, IDLE_SECONDS)),
        )
