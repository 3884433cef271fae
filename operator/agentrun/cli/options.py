"""
The connection options that all commands share.

A command has one parameter of type ``ConnectionOptions``; ``with_connection`` replaces it with the
options below, so that they are the same everywhere and are accepted after the command's name.
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import typer


def _option(*flags: str, variable: str, text: str) -> Any:
    # Values from the environment are not shown: one of them is a token.
    return typer.Option(*flags, envvar=variable, help=text, show_default=False)


@dataclass(frozen=True)
class ConnectionOptions:
    """How to reach the MCP server. Empty fields are discovered."""

    url: Annotated[
        str,
        _option(
            "--url",
            variable="AGENTRUN_URL",
            text="The URL of the MCP server without /mcp, to connect without a port-forward.",
        ),
    ] = ""
    token: Annotated[
        str,
        _option(
            "--token",
            variable="AGENTRUN_TOKEN",
            text="A bearer token (audience agentrun), instead of one that is requested with the"
            " kubeconfig.",
        ),
    ] = ""
    kubeconfig: Annotated[
        str,
        _option(
            "--kubeconfig", variable="KUBECONFIG", text="The kubeconfig. Default: ~/.kube/config."
        ),
    ] = ""
    context: Annotated[
        str,
        _option(
            "--context",
            variable="AGENTRUN_CONTEXT",
            text="The kubeconfig's context. Default: the current one.",
        ),
    ] = ""
    system_namespace: Annotated[
        str,
        _option(
            "--system-namespace",
            variable="AGENTRUN_SYSTEM_NAMESPACE",
            text="The namespace of the installation. Default: agentrun-system; otherwise it asks.",
        ),
    ] = ""
    service: Annotated[
        str,
        _option(
            "--service",
            variable="AGENTRUN_SERVICE",
            text="The MCP server's Service. Default: found by the chart's labels.",
        ),
    ] = ""
    namespace: Annotated[
        str,
        _option(
            "--namespace",
            "-n",
            variable="AGENTRUN_NAMESPACE",
            text="The namespace of the runs. Default: the first one of the installation.",
        ),
    ] = ""
    service_account: Annotated[
        str,
        _option(
            "--service-account",
            variable="AGENTRUN_SERVICE_ACCOUNT",
            text="The ServiceAccount in that namespace to call as. Default: agentrun-client.",
        ),
    ] = ""


def with_connection(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's ``ConnectionOptions`` parameter with the connection options."""
    fields = get_type_hints(ConnectionOptions, include_extras=True)
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters.values()
    name = next(p.name for p in own if hints[p.name] is ConnectionOptions)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=fields[field.name],
        )
        for field in dataclasses.fields(ConnectionOptions)
    ]
    rest = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name])
        for p in own
        if p.name != name
    ]

    def run(**given: Any) -> None:
        chosen = {field: given.pop(field) for field in fields}
        command(**{name: ConnectionOptions(**chosen)}, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*rest, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*rest, *options]}
    return run
