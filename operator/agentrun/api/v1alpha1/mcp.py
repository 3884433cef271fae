"""The MCP servers that a profile gives to its agents."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentrun.api.base import Model
from agentrun.api.v1alpha1.meta import EnvVar, SecretKey

HeaderName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9-]+$")]


class HttpHeader(Model):
    """A header of each request to an MCP server."""

    name: HeaderName
    """The header."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value, in the open."""
    secret: SecretKey | None = None
    """
    The Secret that holds its whole value, such as `Bearer TOKEN`. The agent is told it, since it
    is the agent that speaks to the server; it is redacted from events.
    """

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.value) != has(self.secret)",
            "message": "a header has either a value or a secret",
        },
    ]


class McpServer(Model):
    """An MCP server: a program in the agent's image, or a URL."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    """What the agent calls it; a part of its tools' names."""
    command: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """A program of the agent's image, which the agent starts and speaks to over its pipes."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = []  # noqa: RUF012
    """The program's arguments."""
    env: Annotated[list[EnvVar], Field(max_length=32)] = []  # noqa: RUF012
    """The program's environment, besides what the agent passes on of its own."""
    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s\x00]+$")] | None = None
    """A server that is reached over HTTP."""
    transport: Literal["http", "sse"] = "http"
    """How the server at `url` is spoken to: `http` (streamable HTTP), or the older `sse`."""
    headers: Annotated[list[HttpHeader], Field(max_length=32)] = []  # noqa: RUF012
    """Headers of each request to `url`."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.command) != has(self.url)",
            "message": "an MCP server has either a command or a url",
        },
        {
            "rule": "has(self.command) || (!has(self.args) && !has(self.env))",
            "message": "args and env go with a command",
        },
        {
            "rule": "has(self.url) || !has(self.headers)",
            "message": "headers go with a url",
        },
    ]
