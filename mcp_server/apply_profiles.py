"""
The chart's hook for the default AgentProfiles: ``python -m mcp_server.apply_profiles``.

Helm looks every kind up before it installs anything, so a release that brings a kind cannot
bring objects of it; a hook does it afterwards. It can be repeated: profiles are replaced as a
whole, and those that are no longer wanted are deleted. A profile without the chart's labels is
somebody's own, and left alone.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from agentrun.api.base import API_VERSION
from agentrun.backoff import retry
from agentrun.kube.api import JSON_PATCH, KubeApi, Object
from agentrun.kube.client import connect
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PROFILES

INSTANCE = "app.kubernetes.io/instance"
_REQUEST_SECONDS = 10
_RETRY_SECONDS = 120
_STRICT = {"fieldValidation": "Strict"}
"""By default the API server drops unknown fields, and a limit that is misspelt limits nothing."""
_T = TypeVar("_T")


class ProfileRefusedError(Exception):
    """The API server does not accept a request, and asking again would not help."""

    def __init__(self, message: str, already_exists: bool = False) -> None:
        super().__init__(message)
        self.already_exists = already_exists


class ProfileHook:
    """Applies the profiles of one namespace. Every method may raise ProfileRefusedError."""

    def __init__(
        self,
        kube: KubeApi,
        namespace: str,
        labels: Mapping[str, str],
        pauses: Sequence[float] = (1.0,),
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._labels = labels
        self._pauses = pauses

    async def apply(self, specs: Mapping[str, Object]) -> None:
        """Make the chart's profiles those of ``specs``, and no others."""
        kube, namespace = self._kube, self._namespace
        selector = ",".join(f"{key}={value}" for key, value in self._labels.items())
        present, _ = await self._answered(
            "GET", "", lambda: kube.list(PROFILES, namespace, labels=selector)
        )
        for name, spec in specs.items():
            if await self._apply(name, spec):
                self._say(f"{name} applied")
            else:
                self._say(f"{name} is not the chart's: left alone")
        uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in present}
        for name in uids.keys() - specs.keys():
            await self._delete(name, uids[name])
            self._say(f"{name} deleted: it is no longer enabled")

    async def _apply(self, name: str, spec: Object) -> bool:
        """Create or replace a profile. Return whether it is the chart's."""
        kube, namespace = self._kube, self._namespace
        metadata = {"name": name, "labels": dict(self._labels)}
        profile = {"apiVersion": API_VERSION, "kind": "AgentProfile", "metadata": metadata}
        body = {**profile, "spec": spec}
        try:
            await self._answered(
                "POST", "", lambda: kube.create(PROFILES, namespace, body, query=_STRICT)
            )
        except ProfileRefusedError as error:
            if not error.already_exists:
                raise
        else:
            return True
        found = await self._answered("GET", name, lambda: kube.get(PROFILES, namespace, name))
        if not is_charts(found, self._labels):
            return False
        # As a whole: a server-side apply leaves null where the last field of a map goes.
        whole = {"/metadata/labels": metadata["labels"], "/spec": spec}
        patch = [{"op": "add", "path": path, "value": value} for path, value in whole.items()]
        await self._answered(
            "PATCH",
            name,
            lambda: kube.patch(
                PROFILES, namespace, name, patch, content_type=JSON_PATCH, query=_STRICT
            ),
        )
        return True

    async def _delete(self, name: str, uid: str) -> None:
        await self._answered(
            "DELETE", name, lambda: self._kube.delete(PROFILES, self._namespace, name, uid)
        )

    async def _answered(self, method: str, name: str, request: Callable[[], Awaitable[_T]]) -> _T:
        """Send a request until it is answered; the kind may have been made a moment ago."""
        what = f"{method} {PROFILES.path(self._namespace, name)}"

        def note(error: Exception) -> None:
            _print(f"trying again: {what}: {_described(error)}")

        try:
            return await retry(
                request, self._pauses, _is_transient, seconds=_RETRY_SECONDS, note=note
            )
        except ApiError as error:
            raise ProfileRefusedError(
                f"{what}: {_described(error)}", error.already_exists
            ) from error

    def _say(self, what: str) -> None:
        _print(f"agentprofile {self._namespace}/{what}")


def _is_transient(error: Exception) -> bool:
    return isinstance(error, ApiUnavailableError) or (
        isinstance(error, ApiError) and (error.is_not_found or error.is_conflict)
    )


def _described(error: Exception) -> str:
    if not isinstance(error, ApiError):
        return str(error)
    return f"{error.status} {error.message}" if error.status else error.message


def is_charts(profile: Object, labels: Mapping[str, str]) -> bool:
    """Whether a profile was made by the chart, under whatever name that was installed."""
    present = profile["metadata"].get("labels") or {}
    return all(present.get(key) == labels[key] for key in labels if key != INSTANCE)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what it prints is the pod's log


async def main(environment: Mapping[str, str]) -> None:
    """Do what the environment says, with the rights of the pod's service account."""
    specs: dict[str, Any] = json.loads(environment["PROFILES"])
    labels: dict[str, str] = json.loads(environment["LABELS"])
    async with connect(_REQUEST_SECONDS) as kube:
        for namespace in environment["NAMESPACES"].split(","):
            await ProfileHook(kube, namespace, labels).apply(specs)


if __name__ == "__main__":
    try:
        asyncio.run(main(os.environ))
    except ProfileRefusedError as refusal:
        sys.exit(f"error: {refusal}")
