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
    """The name of the header."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value, in plain text. Use `secret` for a confidential value."""
    secret: SecretKey | None = None
    """
    The Secret key that contains the complete value, such as `Bearer TOKEN`. The agent receives
    the value, because it sends the requests itself; the value is redacted from events.
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
    """The name of the server, which becomes part of the names of its tools in the agent."""
    command: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """A program in the agent's image. The agent starts it and speaks MCP with it over stdio."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = []  # noqa: RUF012
    """The arguments of `command`."""
    env: Annotated[list[EnvVar], Field(max_length=32)] = []  # noqa: RUF012
    """Environment variables of `command`, in addition to those that the agent passes to it."""
    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s\x00]+$")] | None = None
    """The URL of a server that is reached over HTTP."""
    transport: Literal["http", "sse"] = "http"
    """The transport of `url`: `http` (streamable HTTP) or the older `sse`. Defaults to `http`."""
    headers: Annotated[list[HttpHeader], Field(max_length=32)] = []  # noqa: RUF012
    """Headers that the agent sends with each request to `url`."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.command) != has(self.url)",
            "message": "an MCP server has either a command or a url",
        },
        {
            "rule": "has(self.command) || (!has(self.args) && !has(self.env))",
            "message": "args and env require a command",
        },
        {
            "rule": "has(self.url) || !has(self.headers)",
            "message": "headers require a url",
        },
    ]
