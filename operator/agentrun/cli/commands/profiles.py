"""``agentrun profiles``: the profiles that the platform team offers."""

from typing import Any

from agentrun.cli.answers import Profile
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import with_tools
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.cli.render.text import Columns, line_of
from agentrun.cli.screen import OutputFormat, OutputOption, Screen


def list_(connection: ConnectionOptions, output: OutputOption = OutputFormat.TEXT) -> None:
    """List the profiles that runs can use."""

    async def work(tools: Tools) -> None:
        profiles = await read_profiles(tools, connection)
        screen = Screen()
        match output:
            case OutputFormat.JSON:
                screen.json({"profiles": [profile.raw() for profile in profiles]})
            case OutputFormat.JSONL:
                screen.jsonl(*(profile.raw() for profile in profiles))
            case OutputFormat.TEXT:
                _show(screen, profiles)

    with_tools(connection, work)


async def read_profiles(tools: Tools, connection: ConnectionOptions) -> list[Profile]:
    """Read the profiles from the MCP server, or from Kubernetes if the MCP server is older."""
    try:
        namespace = tools.namespace or await _namespace(tools, connection)
        found = await tools.read_resource(f"agentrun://{namespace}/profiles")
        rows = found.get("profiles", []) if isinstance(found, dict) else found
        return [Profile.model_validate(row) for row in rows]
    except CliError as error:
        if connection.url:
            raise CliError(
                f"the profiles cannot be read from {tools.endpoint.place}: {error}; with a"
                " kubeconfig (omit --url) they are read from Kubernetes"
            ) from error
        return await _from_kubernetes(connection)


async def _namespace(tools: Tools, connection: ConnectionOptions) -> str:
    if not connection.url:
        return await _first_namespace(connection)
    page = await tools.list_runs(limit=1)
    while page.next_cursor and not page.runs:
        page = await tools.list_runs(limit=1, cursor=page.next_cursor)
    if page.runs:
        return page.runs[0].namespace
    raise CliError("the namespace of your runs is not known: set --namespace")


async def _first_namespace(connection: ConnectionOptions) -> str:
    from agentrun.cli.connection.discovery import find_service
    from agentrun.cli.connection.kube import UserCluster

    kube = await UserCluster.connect(connection.kubeconfig, connection.context)
    try:
        service = await find_service(kube, connection)
        return next(iter(service.run_namespaces), "agents")
    finally:
        await kube.close()


async def _from_kubernetes(connection: ConnectionOptions) -> list[Profile]:
    from agentrun.cli.connection.kube import UserCluster

    namespace = connection.namespace or await _first_namespace(connection)
    kube = await UserCluster.connect(connection.kubeconfig, connection.context)
    try:
        path = f"/apis/agentrun.dev/v1alpha1/namespaces/{namespace}/agentprofiles"
        items = (await kube.get(path))["items"]
    finally:
        await kube.close()
    return [_profile(item) for item in items]


def _profile(item: dict[str, Any]) -> Profile:
    spec = item.get("spec", {})
    return Profile(
        name=item["metadata"]["name"],
        backend=spec.get("backend", ""),
        description=spec.get("description"),
        models=spec.get("models"),
    )


def _show(screen: Screen, profiles: list[Profile]) -> None:
    if not profiles:
        screen.note("There are no profiles: create an AgentProfile (docs/profiles.md).")
        return
    made = Columns("PROFILE", "BACKEND", "MODELS", "DESCRIPTION")
    for profile in sorted(profiles, key=lambda one: one.name):
        made.add(
            line_of(profile.name), line_of(profile.backend), _models(profile.models),
            line_of(profile.description or ""),
        )  # fmt: skip
    screen.show(made)


def _models(models: Any) -> str:
    if isinstance(models, dict):
        allowed = models.get("allowed") or []
        default = models.get("default")
        others = [model for model in allowed if model != default]
        return (
            line_of(", ".join(([f"{default} (default)"] if default else []) + others), 48) or "any"
        )
    if isinstance(models, list):
        return line_of(", ".join(map(str, models)), 48) or "any"
    return line_of(str(models), 48) if models else "any"


__all__ = ["list_", "read_profiles"]
