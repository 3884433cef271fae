"""
Discovery of the MCP server's Service in a cluster.

The Service is where the options say, or in the chart's documented default namespace. A user who may
list Services in all namespaces needs no options: the chart's labels identify it. But anybody who
may create a Service can set these labels, and the discovered Service receives a token: so a
namespace that the user has not named is used only with their consent.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import typer

from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError, RefusedError
from agentrun.kube.api import Object


async def ask_person(question: str) -> bool | None:
    """Ask a yes-or-no question at the terminal; None if the session is not interactive."""
    # Blocking is fine here: nothing else runs yet.
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return typer.confirm(question)


SELECTOR = "app.kubernetes.io/name=agentrun,app.kubernetes.io/component=mcp"
RUN_NAMESPACES = "agentrun.dev/run-namespaces"
"""The annotation in which the chart records the namespaces of the runs."""

_SYSTEM, _SERVICE, _RUNS = "agentrun-system", "agentrun-mcp", "agents"
_PORT = "mcp"
_FORBIDDEN, _MISSING = 403, 404

Consent = Callable[[str], Awaitable[bool | None]]
"""Asks the user a yes-or-no question; returns None if the session is not interactive."""


@dataclass(frozen=True)
class Service:
    """The MCP server's Service."""

    namespace: str
    name: str
    selector: str
    target_port: str
    """The number or the name of a container port."""
    run_namespaces: tuple[str, ...]

    @property
    def role(self) -> str:
        """The Role for users that the chart creates in the Service's namespace."""
        return f"{self.name.removesuffix('-mcp')}-user"

    @property
    def token_role(self) -> str:
        """The Role for token requests that the chart creates in the namespaces of runs."""
        return f"{self.role}-token"


async def find_service(
    kube: UserCluster, options: ConnectionOptions, consent: Consent = ask_person
) -> Service:
    """Return the one Service that matches the options. Raises CliError if there is not one."""
    namespace, name = options.system_namespace, options.service
    if namespace and name:
        return await _named(kube, namespace, name)
    if namespace:
        found = await _labelled(kube, namespace)
        if found is None:
            return await _named(kube, namespace, name or _SERVICE)
        return choose(found, name, _looked_in(kube.place, namespace))
    # Labels elsewhere do not matter: the default namespace takes precedence.
    usual = await _usual(kube, name)
    if usual:
        return choose(usual, name, _looked_in(kube.place, _SYSTEM))
    everywhere = await _labelled(kube, "")
    if everywhere is None:
        return await _named(kube, _SYSTEM, name or _SERVICE)
    service = choose(everywhere, name, _looked_in(kube.place, ""))
    if service.namespace != _SYSTEM:
        await _agree(kube, service, consent)
    return service


async def _usual(kube: UserCluster, name: str) -> list[Service]:
    """Return the matching Services in the default namespace."""
    found = await _labelled(kube, _SYSTEM)
    if found is not None:
        return [service for service in found if name in ("", service.name)]
    try:
        path = f"/api/v1/namespaces/{_SYSTEM}/services/{name or _SERVICE}"
        return [read_service(await kube.get(path))]
    except RefusedError as error:
        if error.status not in (_FORBIDDEN, _MISSING):
            raise
        return []


async def _labelled(kube: UserCluster, namespace: str) -> list[Service] | None:
    """Return the Services with the chart's labels; None if listing them is forbidden."""
    where = f"/namespaces/{namespace}" if namespace else ""
    try:
        found = await kube.get(f"/api/v1{where}/services", {"labelSelector": SELECTOR})
    except RefusedError as error:
        if error.status != _FORBIDDEN:
            raise
        return None
    return [read_service(item) for item in found["items"]]


async def _agree(kube: UserCluster, service: Service, consent: Consent) -> None:
    """Ask for consent to a namespace that the user has not named. Raises CliError without it."""
    place = f"{service.namespace}/{service.name} of {kube.place}"
    runs = ", ".join(service.run_namespaces) or "no namespace"
    question = (
        f"There is no AgentRun in {_SYSTEM}. {place}, for runs in {runs}, is labelled as one; it"
        " would receive a token of yours. Use it?"
    )
    answer = await consent(question)
    if answer:
        return
    flag = f"--system-namespace {service.namespace} (or AGENTRUN_SYSTEM_NAMESPACE)"
    why = "the session is not interactive" if answer is None else "you declined"
    raise CliError(
        f"there is no AgentRun in {_SYSTEM} of {kube.place}, and {place} was not used: {why}."
        " Everyone with permission to create a Service can label it as AgentRun's."
        f" If this one is yours, select it with {flag}"
    )


def choose(services: Sequence[Service], name: str, looked_in: str) -> Service:
    """Return the only match. Raises CliError if there is none, or several to choose from."""
    fitting = [service for service in services if name in ("", service.name)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        what = f"Service {name} of AgentRun" if name else "AgentRun"
        raise CliError(
            f"no {what} was found in {looked_in}: install it with its Helm chart, or search"
            " elsewhere with --context or --system-namespace"
        )
    there = ", ".join(f"{service.namespace}/{service.name}" for service in fitting)
    raise CliError(
        f"several AgentRuns were found in {looked_in}: {there}; choose one with --system-namespace"
        " and --service"
    )


def read_service(manifest: Object) -> Service:
    """Read a Service's manifest."""
    meta, spec = manifest["metadata"], manifest["spec"]
    ports = spec.get("ports") or [{}]
    port = next((port for port in ports if port.get("name") == _PORT), ports[0])
    selector = spec.get("selector") or {}
    listed = (meta.get("annotations") or {}).get(RUN_NAMESPACES, _RUNS)
    return Service(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=",".join(f"{key}={value}" for key, value in selector.items()),
        target_port=str(port.get("targetPort") or port.get("port") or 8080),
        run_namespaces=tuple(part.strip() for part in listed.split(",") if part.strip()),
    )


async def _named(kube: UserCluster, namespace: str, name: str) -> Service:
    try:
        return read_service(await kube.get(f"/api/v1/namespaces/{namespace}/services/{name}"))
    except RefusedError as error:
        if error.status == _MISSING:
            raise CliError(
                f"no AgentRun was found: there is no Service {namespace}/{name} in {kube.place};"
                " select it with --system-namespace and --service"
            ) from error
        raise CliError(
            f"you have permission neither to list Services in {kube.place} nor to read"
            f" {namespace}/{name} ({error}): select AgentRun with --system-namespace and --service,"
            f" or ask an administrator for the Role {name.removesuffix('-mcp')}-user of its chart"
            f" in {namespace}"
        ) from error


def _looked_in(place: str, namespace: str) -> str:
    return f"namespace {namespace} of {place}" if namespace else f"all namespaces of {place}"
