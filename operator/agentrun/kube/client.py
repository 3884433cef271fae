"""
A minimal Kubernetes client that returns plain JSON objects.

It uses the official client's connection (TLS, credentials and their rotation) but not its typed
models: those take ten times as long for a list, and do not include AgentRun's kinds.

Unreadable parts of an object are omitted and the object is marked (``agentrun.api.quarantine``), so
that the other objects of a list can still be read.
"""

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from agentrun.api.bounded_json import read_kept
from agentrun.api.quarantine import readable
from agentrun.kube.api import MERGE_PATCH, KubeApi, Object, Patch
from agentrun.kube.clock import ServerClock
from agentrun.kube.conflict import retry_on_conflict
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import Resource

_LIST_PAGE = 500
_CREATE_TRIES = 6
_CREATE_PAUSE = 0.1
# The message of a deletion whose precondition, the uid, is not that of the object.
_REPLACED = re.compile(r"UID in (the )?precondition")
# Seconds. The API server sends a bookmark about once a minute; a watch that is silent for longer
# has lost its connection.
_WATCH_SILENCE = 120


class Kube(KubeApi):
    """A connection to the API server. Every method may raise ``ApiError``."""

    def __init__(
        self,
        api: client.ApiClient,
        seconds: float,
        connect_seconds: float,
        clock: ServerClock | None,
    ) -> None:
        self._api = api
        self._connect_seconds = connect_seconds
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect_seconds)
        self._clock = clock

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object. Raises ApiError with status 404 if it does not exist."""
        return await self.request("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Return all objects of a namespace that the selectors select, and the list's version."""
        query = {"limit": str(_LIST_PAGE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        items: list[Object] = []
        while True:
            page = await self.request("GET", resource.path(namespace), query)
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return items, str(page["metadata"]["resourceVersion"])
            query["continue"] = token

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Object,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """
        Create an object and return it as stored.

        A conflict is retried: the creation of another object has changed the same ResourceQuota.
        """

        async def post() -> Object:
            return await self.request("POST", resource.path(namespace), query, body)

        return await retry_on_conflict(
            post, _CREATE_TRIES, lambda error: error.is_conflict, _CREATE_PAUSE
        )

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
        path = resource.path(namespace, name, subresource)
        return await self.request("PATCH", path, query, body, content_type)

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str
    ) -> Object | None:
        """
        Delete the object with that uid and return the API server's response.

        Return None if the object is gone or was replaced by one with another uid.
        """
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            return await self.request("DELETE", resource.path(namespace, name), body=body)
        except ApiError as error:
            if error.is_not_found or _REPLACED.search(error.message):
                return None
            raise

    async def review_token(self, token: str, audience: str) -> Object:
        """Create a TokenReview for a token and an audience; return its status."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        review = await self.request("POST", path, body=body)
        status: Object = review.get("status", {})
        return status

    async def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncGenerator[Object, None]:
        """Yield the watch events after ``resource_version``, for at most ``seconds``."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(
            sock_connect=self._connect_seconds, sock_read=_WATCH_SILENCE
        )
        response = await self._send("GET", resource.path(namespace), query, timeout=timeout)
        try:
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield read_answer(line)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ApiUnavailableError(f"the watch was interrupted: {error!r}") from error
        finally:
            # Not by a TLS shutdown: nobody waits for the API server's part of it, and an event loop
            # that ends before it leaves the socket open.
            connection = response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            response.close()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Patch | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """Send a request that no other method is for, and return the response."""
        response = await self._send(method, path, query, body, content_type, accept)
        try:
            answer = read_answer(await response.read())
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ApiUnavailableError(
                f"the API server's response was interrupted: {error!r}"
            ) from error
        if not isinstance(answer, dict):
            raise ApiUnavailableError(
                f"the API server's response is not a JSON object: {answer!r:.200}", response.status
            )
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Patch | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - aiohttp's own
    ) -> aiohttp.ClientResponse:
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        asked = self._clock.asked() if self._clock else None
        try:
            answer = await self._api.call_api(*request, _request_timeout=timeout or self._timeout)
            response: aiohttp.ClientResponse = answer.response
            if self._clock and asked:
                self._clock.note(response.headers.get("Date"), asked)
            if response.status < 400:
                return response
            text = await response.text()
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise ApiUnavailableError(f"the API server cannot be reached: {error!r}") from error
        raise _rejection(response.status, text)


@asynccontextmanager
async def connect(
    seconds: float = 30, connect_seconds: float = 5, clock: ServerClock | None = None
) -> AsyncIterator[Kube]:
    """
    Connect with the pod's service account or, outside a cluster, with KUBECONFIG.

    A request may take ``seconds``, and opening its connection ``connect_seconds`` of them.
    ``clock`` is updated from the responses.
    """
    configuration = client.Configuration()
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        config.load_incluster_config(client_configuration=configuration)
        # The service account is the only credential: no netrc file is read for each request.
        configuration.client_session_kwargs = {"trust_env": False}
    else:
        await config.load_kube_config(client_configuration=configuration)
    async with client.ApiClient(configuration) as api:
        yield Kube(api, seconds, connect_seconds, clock)


def read_answer(raw: bytes | str) -> Any:
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


def _rejection(status: int, text: str) -> ApiError:
    """Build the error from the API server's Status object, which has the reason and the message."""
    try:
        problem = read_kept(text)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    message = str(problem.get("message") or text[:500] or f"HTTP {status}")
    if status == 429 or status >= 500:
        return ApiUnavailableError(message, status)
    return ApiError(status, str(problem.get("reason") or ""), message)
