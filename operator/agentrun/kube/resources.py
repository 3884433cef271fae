"""The API resources that AgentRun reads and writes, and their URL paths."""

import re
from dataclasses import dataclass, replace

from agentrun.api.base import GROUP, VERSION
from agentrun.kube.errors import ApiError

# A DNS subdomain (RFC 1123): the format of the names of all objects used here.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True)
class Resource:
    """An API resource, as used in URLs."""

    api: str
    plural: str
    is_namespaced: bool = True
    """Whether its paths contain a namespace; those of cluster-scoped resources do not."""

    @property
    def in_all_namespaces(self) -> "Resource":
        """The resource whose collection is that of all namespaces, to list and watch."""
        return replace(self, is_namespaced=False)

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """
        Return the URL path of the collection, an object or a subresource.

        Raises ApiError if a name is invalid: names come from callers of the tools and must not
        lead to another path.
        """
        for given in (namespace, name):
            if given and not (len(given) < 254 and _NAME.fullmatch(given)):
                raise ApiError(
                    400, "BadRequest", f"{given[:253]!r} is not a valid Kubernetes name."
                )
        within = ("namespaces", namespace) if self.is_namespaced else ()
        parts = [self.api, *within, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


RUNS = Resource(f"/apis/{GROUP}/{VERSION}", "agentruns")
SESSIONS = Resource(f"/apis/{GROUP}/{VERSION}", "agentsessions")
PROFILES = Resource(f"/apis/{GROUP}/{VERSION}", "agentprofiles")
PODS = Resource("/api/v1", "pods")
EVENTS = Resource("/api/v1", "events")
SECRETS = Resource("/api/v1", "secrets")
NAMESPACES = Resource("/api/v1", "")
"""A namespace is read by its own path, without a name."""
