"""The interface of the MCP server's writes to the API server; tests implement it with a fake."""

from collections.abc import Mapping
from typing import Protocol

from mcp_server.kube import MERGE_PATCH, Object, Resource


class Cluster(Protocol):
    """The requests of ``Runs`` to the API server."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object."""

    async def list(self, resource: Resource, namespace: str) -> Object:
        """Return all objects of a namespace."""

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object and return it."""

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Patch an object and return it."""

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object of that name if it still has ``uid``."""
