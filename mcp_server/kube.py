"""
A minimal Kubernetes client that returns plain JSON objects.

It uses the official client's connection (TLS, credentials and their rotation) but not its typed
models: those take ten times as long for a list, and do not include AgentRun's kinds.

Unreadable parts of an object are omitted and the object is marked (``agentrun.api.quarantine``), so
that the other objects of a list can still be read.
"""

import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from agentrun.api.bounded_json import read_kept
from agentrun.api.quarantine import readable
from agentrun.api.v1alpha1 import GROUP, VERSION

Object = dict[str, Any]
"""An API object, or a list of them, as the API server sends it."""

FORBIDDEN = 403
"""The HTTP status of requests that RBAC denies, including all requests in a deleted namespace."""

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
_LIST_PAGE = 500
# Seconds. The API server sends a bookmark about once a minute; a watch that is silent for longer
# has lost its connection.
_WATCH_SILENCE = 120

# A DNS subdomain (RFC 1123): the format of the names of all objects used here.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class ApiError(Exception):
    """The API server rejected a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class ApiUnavailableError(ApiError):
    """The API server cannot be reached, or cannot answer. The request may be retried."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Unavailable", message)


def is_closed(problem: Exception | None) -> bool:
    """Whether a namespace is closed to the MCP server: deleted, with the permissions in it."""
    return isinstance(problem, ApiError) and problem.status == FORBIDDEN


@dataclass(frozen=True)
class Resource:
    """An API resource, as used in URLs."""

    api: str
    plural: str

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
        parts = [self.api, "namespaces", namespace, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


RUNS = Resource(f"/apis/{GROUP}/{VERSION}", "agentruns")
SESSIONS = Resource(f"/apis/{GROUP}/{VERSION}", "agentsessions")
PROFILES = Resource(f"/apis/{GROUP}/{VERSION}", "agentprofiles")
PODS = Resource("/api/v1", "pods")
SECRETS = Resource("/api/v1", "secrets")
NAMESPACES = Resource("/api/v1", "")
"""A namespace is read by its own path, without a name."""


class Kube:
    """A connection to the API server. Every method may raise ``ApiError``."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> "Kube":
        """Connect with the pod's service account or, outside a cluster, with KUBECONFIG."""
        configuration = client.Configuration()
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)
            # The service account is the only credential: no netrc file is read for each request.
            configuration.client_session_kwargs = {"trust_env": False}
        else:
            await config.load_kube_config(client_configuration=configuration)
        return cls(client.ApiClient(configuration))

    async def close(self) -> None:
        """Close the connection."""
        await self._api.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object."""
        return await self._json("GET", resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str) -> Object:
        """Return all objects of a namespace, as one list with its resourceVersion."""
        items: list[Object] = []
        query = {"limit": str(_LIST_PAGE)}
        while True:
            page = await self._json("GET", resource.path(namespace), query)
            items.extend(readable(one) for one in page.get("items", []))
            token = page.get("metadata", {}).get("continue")
            if not token:
                return {**page, "items": items}
            query["continue"] = token

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object and return it."""
        return await self._json("POST", resource.path(namespace), body=body)

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
        """Patch an object or a subresource, and return the object."""
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", path, query, body, content_type)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object of that name if it still has ``uid``."""
        body = {"preconditions": {"uid": uid}}
        await self._json("DELETE", resource.path(namespace, name), body=body)

    async def review_token(self, token: str, audience: str) -> Object:
        """Create a TokenReview for a token and an audience; return its status."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        review = await self._json("POST", path, body=body)
        status: Object = review.get("status", {})
        return status

    async def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        """Yield the watch events after ``resource_version``, for at most ``seconds``."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=5, sock_read=_WATCH_SILENCE)
        response = await self._send("GET", resource.path(namespace), query, timeout=timeout)
        try:
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    event = read_kept(line)
                    yield {**event, "object": readable(event["object"])}
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ApiUnavailableError(f"the watch was interrupted: {error!r}") from error
        finally:
            response.close()

    async def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        response = await self._send(method, path, query, body, content_type)
        try:
            answer: Object = read_kept(await response.read())
            is_list = isinstance(answer, dict) and "items" in answer
            return answer if is_list else readable(answer)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ApiUnavailableError(
                f"the API server's response was interrupted: {error!r}"
            ) from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = _REQUEST_TIMEOUT,  # noqa: ASYNC109 - aiohttp's own
    ) -> aiohttp.ClientResponse:
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._api.call_api(*request, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            if response.status < 400:
                return response
            text = await response.text()
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise ApiUnavailableError(f"the API server cannot be reached: {error!r}") from error
        raise _refusal(response.status, text)


def _refusal(status: int, text: str) -> ApiError:
    """Build the error from the API server's Status object, which has the reason and the message."""
    try:
        problem = read_kept(text)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    message = str(problem.get("message") or text[:500] or f"HTTP {status}")
    if status == 429 or status >= 500:
        return ApiUnavailableError(message)
    return ApiError(status, str(problem.get("reason") or ""), message)
