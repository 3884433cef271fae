"""Converts the profile's MCP servers to ACP's form."""

from collections.abc import Callable, Sequence

from acp.schema import (
    EnvVariable,
    HttpHeader,
    HttpMcpServer,
    McpCapabilities,
    McpServerStdio,
    SseMcpServer,
)

from agentrun.api.v1alpha1 import McpServer, Reason, SecretKey
from agentrun.runner.outcome import AttemptError

Server = HttpMcpServer | SseMcpServer | McpServerStdio
ReadSecret = Callable[[SecretKey], str | None]


def acp_servers(servers: Sequence[McpServer], read: ReadSecret) -> list[Server]:
    """Convert servers, with values from Secrets. Raises AttemptError if a Secret is missing."""
    return [_server(server, read) for server in servers]


def own_server(name: str, url: str, offered: McpCapabilities | None) -> list[Server]:
    """Return AgentRun's own tools as a server; empty if the agent supports no HTTP servers."""
    if not (offered and offered.http):
        return []
    return [HttpMcpServer(type="http", name=name, url=url, headers=[])]


def check_transports(servers: Sequence[Server], offered: McpCapabilities | None) -> None:
    """Raise AttemptError for unsupported transports; every agent supports stdio."""
    able = {
        "http": bool(offered and offered.http),
        "sse": bool(offered and offered.sse),
    }
    for server in servers:
        if not isinstance(server, McpServerStdio) and not able[server.type]:
            message = (
                f"The agent cannot reach MCP server {server.name} of its profile: it does not"
                f" support {server.type}. Configure the server as a command, or use another agent."
            )
            raise AttemptError(Reason.PROFILE_INVALID, message)


def _server(server: McpServer, read: ReadSecret) -> Server:
    def value_of(value: str | None, secret: SecretKey | None) -> str:
        if secret is None:
            return value or ""
        found = read(secret)
        if found is None:
            message = (
                f"MCP server {server.name} needs Secret {secret.name}, key {secret.key}, which is"
                " not in the pod: the profile has changed since the pod was made. Start the run"
                " again."
            )
            raise AttemptError(Reason.PROFILE_INVALID, message)
        return found

    if server.command is not None:
        env = [EnvVariable(name=v.name, value=value_of(v.value, v.secret)) for v in server.env]
        return McpServerStdio(
            name=server.name, command=server.command, args=list(server.args), env=env
        )
    headers = [HttpHeader(name=h.name, value=value_of(h.value, h.secret)) for h in server.headers]
    url = server.url or ""
    if server.transport == "sse":
        return SseMcpServer(type="sse", name=server.name, url=url, headers=headers)
    return HttpMcpServer(type="http", name=server.name, url=url, headers=headers)
