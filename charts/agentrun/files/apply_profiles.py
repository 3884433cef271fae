# ruff: noqa: T201 - what it prints is the pod's log
"""
Applying the default AgentProfiles.

Helm looks every kind up before it installs anything, so a release that brings a kind cannot
bring objects of it; a hook does it afterwards. This needs only the standard library, and can
be repeated: profiles are replaced as a whole, and those that are no longer wanted are deleted.
A profile without the chart's labels is somebody's own, and left alone.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API_VERSION = "agentrun.dev/v1alpha1"
PATIENCE_SECONDS = 120
CONFLICT = 409
INSTANCE = "app.kubernetes.io/instance"


class RefusedError(Exception):
    """The API server does not accept a request, and asking again would not help."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """The API server, as a pod's service account reaches it."""

    def __init__(
        self, url: str, token: str, authority: ssl.SSLContext | None, pause: float
    ) -> None:
        self._url = url
        self._token = token
        self._authority = authority
        self._pause = pause

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request until it is answered; the kind may have been made a moment ago."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._send(method, path, body)
            except urllib.error.HTTPError as error:
                problem = f"{method} {path}: {error.code} {error.read().decode()}"
                if error.code not in (404, 429) and error.code < 500:
                    raise RefusedError(problem, error.code) from error
            except OSError as error:
                problem = f"{method} {path}: {error}"
            if time.monotonic() > deadline:
                raise RefusedError(problem)
            print(f"trying again: {problem}", flush=True)
            time.sleep(self._pause)

    def _send(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": f"application/{'json-patch+json' if method == 'PATCH' else 'json'}",
            },
        )
        with urllib.request.urlopen(request, timeout=10, context=self._authority) as answer:
            return json.load(answer)


def apply(api: Api, namespace: str, specs: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Make the profiles of ``namespace`` with ``labels`` those of ``specs``, and no others."""
    profiles = f"/apis/{API_VERSION}/namespaces/{namespace}/agentprofiles"
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    query = urllib.parse.urlencode({"labelSelector": selector})
    present = api.send("GET", f"{profiles}?{query}")["items"]
    for name, spec in specs.items():
        metadata = {"name": name, "labels": labels}
        profile = {"apiVersion": API_VERSION, "kind": "AgentProfile", "metadata": metadata}
        try:
            api.send("POST", profiles, {**profile, "spec": spec})
        except RefusedError as error:
            if error.code != CONFLICT:
                raise
            if not is_charts(api.send("GET", f"{profiles}/{name}"), labels):
                print(f"agentprofile {namespace}/{name} is not the chart's: left alone", flush=True)
                continue
            # As a whole: a server-side apply leaves null where the last field of a map goes.
            whole = {"/metadata/labels": labels, "/spec": spec}
            patch = [{"op": "add", "path": path, "value": value} for path, value in whole.items()]
            api.send("PATCH", f"{profiles}/{name}", patch)
        print(f"agentprofile {namespace}/{name} applied", flush=True)
    for name in {profile["metadata"]["name"] for profile in present} - set(specs):
        api.send("DELETE", f"{profiles}/{name}")
        print(f"agentprofile {namespace}/{name} deleted: it is no longer enabled", flush=True)


def is_charts(profile: Any, labels: Mapping[str, str]) -> bool:
    """Whether a profile was made by the chart, under whatever name that was installed."""
    present = profile["metadata"].get("labels") or {}
    return all(present.get(key) == labels[key] for key in labels if key != INSTANCE)


def main() -> None:
    """Do what the environment says, with the rights of the pod's service account."""
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    api = Api(
        f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}",
        (SERVICE_ACCOUNT / "token").read_text(),
        ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        pause=1,
    )
    specs = json.loads(os.environ["PROFILES"])
    labels = json.loads(os.environ["LABELS"])
    for namespace in os.environ["NAMESPACES"].split(","):
        apply(api, namespace, specs, labels)


if __name__ == "__main__":
    try:
        main()
    except RefusedError as refusal:
        sys.exit(f"error: {refusal}")
