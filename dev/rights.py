"""
The Kubernetes API permissions of the chart's service accounts, read from its roles.

``python -m dev.rights FILE`` writes the table into FILE, between its two marks.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dev import paths, tools
from dev.shell import DevError, run

COMPONENTS = {
    "operator": "operator",
    "mcp": "MCP server",
    "profiles": "profiles hook",
    "runs": "`agentrun-client`",
    "test": "`helm test`",
    "users": "people (`users.subjects`)",
}
"""The display names of the components that have, or may have, service accounts."""
PEOPLE = "users"
"""Not a program: the component whose roles are for people with `agentrun mcp`."""

_RELEASE = "agentrun-system"
_WHERE = {
    "cluster": "the whole cluster",
    "namespace": "the namespaces of runs",
    "release": "the release's namespace",
}

BEGIN, END = "<!-- rights: begin -->", "<!-- rights: end -->"


@dataclass(frozen=True, order=True)
class Right:
    """A permission that a component has, or used."""

    component: str
    group: str
    resource: str
    """The resource, with a subresource after a slash."""
    verb: str
    scope: str = "namespace"
    """``namespace``: those of the runs. ``release``: the chart's. ``cluster``: all."""

    def __str__(self) -> str:
        """Return the permission in a readable form."""
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.component}: {self.verb} {name} ({self.scope})"


def rendered(*flags: str) -> list[Mapping[str, Any]]:
    """Render the chart with its default values and ``flags``, including hooks."""
    tools.build(tuple(one for one in tools.CLIENTS if one.name == "helm"))
    chart = paths.CHECKOUT / "charts" / "agentrun"
    helm = [paths.binaries() / "helm", "template", "agentrun", chart, "-n", _RELEASE]
    text = run([*helm, "--kube-version", tools.KUBERNETES, *flags])
    return [one for one in yaml.safe_load_all(text) if one]


def granted(objects: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Collect the permissions of the roles among ``objects``, each for the role's component."""
    return {
        right
        for one in objects
        if one["kind"] in ("Role", "ClusterRole")
        for rule in one["rules"]
        for right in _rights(one, rule)
    }


def _rights(role: Mapping[str, Any], rule: Mapping[str, Any]) -> Iterator[Right]:
    component = role["metadata"]["labels"]["app.kubernetes.io/component"]
    # A rule of a ClusterRole that names a namespace applies to a namespace of runs.
    is_named = rule["resources"] == ["namespaces"] and rule.get("resourceNames")
    is_wide = role["kind"] == "ClusterRole" and not is_named
    near = "release" if role["metadata"].get("namespace") == _RELEASE else "namespace"
    scope = "cluster" if is_wide else near
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Right(component, group, resource, verb, scope)


def table(rights: Iterable[Right]) -> str:
    """Format the permissions as a Markdown table."""
    cells: dict[tuple[str, str, str, str], list[str]] = {}
    order = ["get", "list", "watch", "create", "patch", "update", "delete"]
    for right in sorted(rights):
        resource = f"{right.resource}.{right.group}" if right.group else right.resource
        where = _WHERE[right.scope]
        cells.setdefault(
            (right.component, COMPONENTS[right.component], resource, where), []
        ).append(right.verb)
    rows = [
        f"| {who} | `{resource}` | {', '.join(sorted(verbs, key=order.index))} | {where} |"
        for (_, who, resource, where), verbs in cells.items()
    ]
    return "\n".join(["| who | what | may | where |", "|---|---|---|---|", *rows])


def main(file: Path) -> None:
    """Write the table into ``file``. Raises DevError if the marks are missing."""
    text = file.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise DevError(f"{file} has no lines {BEGIN} and {END} to write between")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    new = f"{head}{BEGIN}\n{table(granted(rendered()))}\n{END}{tail}"
    file.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
