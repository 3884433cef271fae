"""The API server's audit log, limited to requests of service accounts."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.rights import Right

_ACCOUNT = "system:serviceaccount:"
# The chart's names: RELEASE-COMPONENT, if the release's name contains the chart's name.
_COMPONENT = re.compile(r".*agentrun.*-(operator|mcp|profiles|test)|agentrun-(client)")
# What Kubernetes itself allows every service account.
_FOR_ALL = frozenset({"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"})


@dataclass(frozen=True)
class Request:
    """One request of a service account."""

    namespace: str
    """The namespace of the account."""
    account: str
    verb: str
    uri: str
    code: int
    forbidden: bool
    """Whether RBAC refused it, not another check with the same status code."""
    group: str = ""
    resource: str = ""
    """The resource with its subresource; empty for paths such as ``/version``."""
    within: str = ""
    """The namespace of the request."""

    @property
    def component(self) -> str:
        """The component of the chart that sent the request; empty if none did."""
        found = _COMPONENT.fullmatch(self.account)
        name = next((part for part in found.groups() if part), "") if found else ""
        return "runs" if name == "client" else name

    @property
    def right(self) -> Right | None:
        """The right that a role must grant for this; None if it needs no role of the chart."""
        if not self.resource or self.resource in _FOR_ALL:
            return None
        scope = "namespace" if self.within else "cluster"
        return Right(self.component, self.group, self.resource, self.verb, scope)


def read(folder: Path) -> list[Request]:
    """Read the whole log, including its rotated files."""
    files = sorted(folder.glob("audit*.log"))
    assert files, f"there is no audit log in {folder}: is the cluster up?"
    return [request for file in files for request in _requests(_lines(file))]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        yield from lines


def _requests(lines: Iterable[str]) -> Iterator[Request]:
    for line in lines:
        # Nearly all lines are about the cluster's own components, and need not be parsed.
        if _ACCOUNT not in line or not line.endswith("}\n"):
            continue
        event = json.loads(line)
        user = event["user"].get("username", "")
        if user.startswith(_ACCOUNT) and "impersonatedUser" not in event:
            yield _request(user, event)


def _request(user: str, event: dict) -> Request:  # type: ignore[type-arg]
    namespace, _, account = user.removeprefix(_ACCOUNT).partition(":")
    ref = event.get("objectRef") or {}
    resource = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
    return Request(
        namespace=namespace,
        account=account,
        verb=event["verb"],
        uri=event["requestURI"],
        code=event.get("responseStatus", {}).get("code", 0),
        forbidden=event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid",
        group=ref.get("apiGroup", ""),
        resource=resource,
        within=ref.get("namespace", ""),
    )
