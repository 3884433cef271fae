"""What programs request of the API server; ``agentrun.kube.client.Kube`` implements it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from agentrun.kube.errors import ApiError
from agentrun.kube.resources import Resource

Object = dict[str, Any]
"""An API object as the API server sends it."""

Patch = Object | Sequence[Object]
"""The body of a patch: an object, or the operations of a JSON patch."""

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class KubeApi(Protocol):
    """Requests for objects. Every method may raise ``ApiError``."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object. Raises ApiError with status 404 if it does not exist."""

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return an object; None if it does not exist."""
        try:
            return await self.get(resource, namespace, name)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    async def list(
        self, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Return all objects of a namespace that the selectors select, and the list's version."""

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Object,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Create an object and return it as stored."""

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Patch,
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Patch an object or a subresource, and return the object as stored."""

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str
    ) -> Object | None:
        """
        Delete the object with that uid and return the API server's response.

        Return None if the object is gone or was replaced by one with another uid.
        """

    def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        """
        Yield the watch events after ``resource_version``, for at most ``seconds``.

        An event of type ERROR says that the version is too old.
        """

    async def review_token(self, token: str, audience: str) -> Object:
        """Create a TokenReview for a token and an audience; return its status."""
