"""
The paths and ports in the pod.

The paths are those of ``agentrun.api.pod_layout``, below a root that is ``/`` in a pod and any
folder elsewhere. Imports only small modules: the pipes are created before anything else is loaded.
"""

from dataclasses import dataclass
from pathlib import Path

from agentrun.api import pod_layout


@dataclass(frozen=True)
class Layout:
    """The files of the pod, below ``root``."""

    root: Path = Path("/")
    init_program: Path = Path("/usr/lib/agentrun/init")
    """The static init program of the runner's image, for the agent's container."""
    proxy_port: int = pod_layout.PROXY_PORT
    tools_port: int = pod_layout.TOOLS_PORT
    capability: str = ""
    """The secret first part of loopback paths; created at start, and shared with the agent."""

    def at(self, path: str) -> Path:
        """Return an absolute path of the pod as a path below the root."""
        return self.root / path.lstrip("/")

    @property
    def pipes(self) -> Path:
        """The folder of the FIFOs."""
        return self.at(pod_layout.PIPES)

    @property
    def calls(self) -> Path:
        """The folder of the calls of ``peer``."""
        return self.at(pod_layout.CALLS)

    @property
    def capability_file(self) -> Path:
        """The file from which the agent's container reads the capability."""
        return self.at(pod_layout.CAPABILITY)

    @property
    def provider_url(self) -> str:
        """The agent's URL of the model's provider: the runner's proxy."""
        return f"http://127.0.0.1:{self.proxy_port}/{self.capability}"

    @property
    def tools_path(self) -> str:
        """The URL path of AgentRun's own tools, on ``tools_port``."""
        return f"/{self.capability}/mcp"

    @property
    def workspace(self) -> Path:
        """The agent's working folder."""
        return self.at(pod_layout.WORKSPACE)

    @property
    def home(self) -> Path:
        """The agent's home."""
        return self.at(pod_layout.HOME)

    @property
    def spool(self) -> Path:
        """The runner's own folder."""
        return self.at(pod_layout.SPOOL)

    @property
    def repository(self) -> Path:
        """The runner's private repository."""
        return self.at(pod_layout.REPOSITORY)

    @property
    def token(self) -> Path:
        """The gateway's token."""
        return self.at(pod_layout.TOKEN_FILE)

    @property
    def provider_key(self) -> Path:
        """The key of the model's provider, if the profile names one."""
        return self.at(pod_layout.PROVIDER_KEY_FILE)

    @property
    def git_credentials(self) -> Path:
        """The mounted git Secret, if the profile names one."""
        return self.at(pod_layout.GIT_CREDENTIALS)

    @property
    def redact(self) -> Path:
        """Values of Secrets that the agent's environment contains."""
        return self.at(pod_layout.REDACT)

    @property
    def proxy_url(self) -> Path:
        """The URL of the forward proxy, if a Secret holds it."""
        return self.at(pod_layout.PROXY_URL_FILE)

    @property
    def mcp_secrets(self) -> Path:
        """Values from Secrets for MCP servers, as SECRET/KEY."""
        return self.at(pod_layout.MCP_SECRETS)

    @property
    def backend_secret(self) -> Path:
        """The run's credentials for a remote agent: auth_token, headers."""
        return self.at(pod_layout.BACKEND_SECRET)

    @property
    def instructions(self) -> Path:
        """The sources of instruction files, as CONFIGMAP/KEY."""
        return self.at(pod_layout.INSTRUCTIONS)

    @property
    def ca_file(self) -> Path:
        """The certificate authorities that the profile adds, if any."""
        return self.at(pod_layout.CA_FILE)

    @property
    def roots(self) -> Path:
        """All certificate authorities that the runner trusts, if the profile adds some."""
        return self.at(pod_layout.RUNNER_ROOTS)

    @property
    def termination_log(self) -> Path:
        """The termination log: the record of the outcome if the gateway does not accept it."""
        return self.at(pod_layout.TERMINATION_LOG)
