"""All objects of one kind in the cluster, kept current by a watch."""

import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from dev.policies.select import Object

_PAUSE = 1.0
_WATCH_SECONDS = 300


class Api:
    """The API server, with a client certificate for authentication."""

    def __init__(self, server: str, authority: str, certificate: str, key: str) -> None:
        self._server = server
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def open(self, path: str, **query: str) -> Any:
        """Send a GET request. The response can be read line by line."""
        # A watch that is silent for longer than its timeout is dead.
        return self._opener.open(
            f"{self._server}{path}?{urlencode(query)}", timeout=_WATCH_SECONDS + 30
        )


class Watched:
    """A cache of the objects of one kind."""

    def __init__(self, api: Api, path: str, changed: Callable[[], None]) -> None:
        self._api = api
        self._path = path
        self._changed = changed
        self._objects: dict[str, Object] = {}
        self._lock = threading.Lock()
        self.listed = threading.Event()
        """Set once the first list is complete."""

    def objects(self) -> list[Object]:
        """Return the objects in the order of namespace and name."""
        with self._lock:
            found = list(self._objects.values())
        return sorted(
            found, key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"])
        )

    def follow(self) -> None:
        """List and watch until the process ends. After an error, list again."""
        while True:
            try:
                self._watch(self._list())
            except (OSError, ValueError) as error:
                print(f"{self._path}: {error!r}; once more", flush=True)
                time.sleep(_PAUSE)

    def _list(self) -> str:
        with self._api.open(self._path) as answer:
            found = json.load(answer)
        with self._lock:
            self._objects = {item["metadata"]["uid"]: item for item in found["items"]}
        self.listed.set()
        self._changed()
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> None:
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        with self._api.open(self._path, **query) as answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    # The resourceVersion is too old to resume from: list again.
                    return
                self._take(event["type"], event["object"])

    def _take(self, kind: str, obj: Object) -> None:
        with self._lock:
            if kind == "DELETED":
                self._objects.pop(obj["metadata"]["uid"], None)
            else:
                self._objects[obj["metadata"]["uid"]] = obj
        self._changed()
