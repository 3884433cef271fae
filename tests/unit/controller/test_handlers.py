"""What kopf is told to watch, and what happens to its news."""

import logging
from itertools import islice
from typing import Any

import kopf
import pytest

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.controller.caches import Caches
from agentrun.controller.handlers import Pauses, build_settings, feed_into, is_worth_logging
from agentrun.kube.api import Object
from agentrun.kube.resources import RUNS


def a_run(version: int) -> Object:
    return {
        "metadata": {
            "name": "r",
            "namespace": "ns",
            "uid": "u",
            "resourceVersion": str(version),
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"backend": "codex"},
    }


async def test_news_goes_into_the_cache_without_what_nobody_reads() -> None:
    caches = Caches()
    feed: Any = feed_into(caches, RUNS)
    told = a_run(2)
    await feed(event={"type": "ADDED", "object": told})
    cached = caches.of(RUNS).get(("ns", "r"))
    assert cached is not None
    assert "managedFields" not in cached["metadata"]
    assert "managedFields" in told["metadata"]
    await feed(event={"type": "DELETED", "object": a_run(3)})
    assert caches.of(RUNS).get(("ns", "r")) is None


def test_kopf_only_watches() -> None:
    settings = build_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    pods = kopf.Resource("", "v1", "pods")
    assert list(settings.watching.label_selectors.collect(pods)) == [LABEL_RUN]


def test_the_api_server_is_waited_for_without_end_and_with_ever_new_patience() -> None:
    pauses = Pauses()
    first = list(islice(pauses, 100))
    assert list(islice(pauses, 100)) == first
    assert (first[0], max(first)) == (0.1, 3.0)


@pytest.mark.parametrize(
    ("said", "is_told"),
    [
        pytest.param("Request attempt #1 failed; will retry: GET /x", True, id="first"),
        pytest.param("Request attempt #2 failed; will retry: GET /x", False, id="second"),
        pytest.param("Request attempt #31 failed; will retry: GET /x", False, id="later"),
        pytest.param("run r: Running (Working)", True, id="our-own"),
    ],
)
def test_an_outage_is_told_once_for_each_watch(said: str, is_told: bool) -> None:
    record = logging.LogRecord("kopf", logging.ERROR, "", 0, said, None, None)
    assert is_worth_logging(record) == is_told
