"""
The client of the API server.

A thin layer over the official Kubernetes client: objects are plain JSON as on the wire, and every
error is an ``ApiError`` with the API server's code and message.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from agentrun.api.base import GROUP, VERSION
from agentrun.api.bounded_json import read_kept
from agentrun.api.quarantine import readable
from agentrun.controller.clock import ServerClock

Object = dict[str, Any]
"""A Kubernetes object as JSON."""

_TIMEOUT = 30
_CHUNK = 500
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Resource:
    """The API path of a kind."""

    prefix: str
    plural: str


class Kind(Enum):
    """The kinds that the operator reads and writes."""

    RUN = Resource(f"/apis/{GROUP}/{VERSION}", "agentruns")
    SESSION = Resource(f"/apis/{GROUP}/{VERSION}", "agentsessions")
    PROFILE = Resource(f"/apis/{GROUP}/{VERSION}", "agentprofiles")
    POD = Resource("/api/v1", "pods")
    EVENT = Resource("/api/v1", "events")
    NAMESPACE = Resource("/api/v1", "")
    """Requested with the namespace's name as the namespace and an empty name."""


class ApiError(Exception):
    """The API server refused a request, or could not be reached (code 0)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.message = message

    @property
    def is_stale(self) -> bool:
        """Whether the request was based on an outdated or deleted object (404, 409, 422)."""
        return self.code in (404, 409, 422)


class KubeApi(Protocol):
    """The requests that the operator makes. Every method may raise ApiError."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object; None if it does not exist."""

    async def list(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Return all objects, and the resourceVersion of the list."""

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Create an object and return it as stored."""

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Object, subresource: str = ""
    ) -> Object:
        """Merge ``body`` into an object, or into its subresource, and return it as stored."""

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> Object | None:
        """
        Delete the object with that uid and return the API server's response.

        Return None if the object is gone or was replaced by one with another uid.
        """


class Kube:
    """A ``KubeApi`` over HTTP."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self.clock = ServerClock()
        """The API server's clock, derived from its responses."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object; None if it does not exist."""
        try:
            return await self._request("GET", _path(kind, namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Return all objects, and the resourceVersion of the list."""
        query = {"limit": str(_CHUNK)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        objects: list[Object] = []
        while True:
            page = await self._request("GET", _path(kind, namespace), query)
            objects += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return objects, page["metadata"]["resourceVersion"]
            query["continue"] = token

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Create an object and return it as stored."""
        return await self._request("POST", _path(kind, namespace), body=body)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Object, subresource: str = ""
    ) -> Object:
        """Merge ``body`` into an object, or into its subresource, and return it as stored."""
        path = _path(kind, namespace, name, subresource)
        return await self._request("PATCH", path, body=body, content_type=_MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> Object | None:
        """
        Delete the object with that uid and return the API server's response.

        Return None if the object is gone or was replaced by one with another uid.
        """
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            return await self._request("DELETE", _path(kind, namespace, name), body=body)
        except ApiError as error:
            if error.code in (404, 409):
                return None
            raise

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        parts = await self._api.param_serialize(
            method,
            path + (f"?{urlencode(query)}" if query else ""),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        asked = self.clock.asked()
        try:
            response = await self._api.call_api(*parts, _request_timeout=_TIMEOUT)
            raw = await response.read()
            self.clock.note(response.headers.get("Date"), asked)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, f"the API server cannot be reached: {error!r}") from error
        return _parse(response.status, raw)


@asynccontextmanager
async def connect() -> AsyncIterator[Kube]:
    """Connect with the pod's service account, else with the kubeconfig file."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
        # The service account is the only credential: no netrc file is read for each request.
        settings.client_session_kwargs = {"trust_env": False}
    except config.ConfigException:
        await config.load_kube_config(client_configuration=settings)
    async with client.ApiClient(settings) as api:
        yield Kube(api)


def _path(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    parts = (kind.value.prefix, "namespaces", namespace, kind.value.plural, name, subresource)
    return "/".join(part for part in parts if part)


def read_answer(raw: bytes) -> Any:
    """
    Parse a response: an object, a list, or a watch event. Raises ValueError if it is not JSON.

    What cannot be read of an object is left out, and an annotation of the object says so.
    """
    body = read_kept(raw)
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("items"), list):
        return {**body, "items": [readable(one) for one in body["items"]]}
    if isinstance(body.get("object"), dict) and "type" in body:
        return {**body, "object": readable(body["object"])}
    return readable(body)


def _parse(code: int, raw: bytes) -> Object:
    try:
        body = read_answer(raw)
    except ValueError:
        body = {"message": raw[:200].decode(errors="replace")}
    if not isinstance(body, dict):
        raise ApiError(code, f"the API server's response is not a JSON object: {raw[:200]!r}")
    if not 200 <= code < 300:
        raise ApiError(code, str(body.get("message", "")))
    return body
