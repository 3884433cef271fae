"""Helm, as the tests run it; nothing here needs a cluster."""

import json
import pickle
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dev import paths, tools

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "agentrun"
VALUES = Path(__file__).parent / "values"
GOLDEN = Path(__file__).parent / "golden"
KUBERNETES = tools.KUBERNETES

Object = dict[str, Any]


def install_tools() -> None:
    """Build helm and kubeconform, unless they exist."""
    tools.build(tuple(one for one in tools.CLIENTS if one.name in ("helm", "kubeconform")))


def run(program: str, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of the tools."""
    return subprocess.run(
        [paths.binaries() / program, *arguments],
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip


@cache
def template(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Render the chart with more arguments for ``helm template``; the results are cached."""
    return run(
        "helm", "template", "agentrun", CHART,
        "--namespace", "agentrun-system", "--kube-version", KUBERNETES, *arguments,
    )  # fmt: skip


def render(*arguments: str | Path) -> list[Object]:
    """Render the chart, which must succeed, and return its objects as a copy for the caller."""
    objects: list[Object] = pickle.loads(_rendered(*arguments))
    return objects


@cache
def _rendered(*arguments: str | Path) -> bytes:
    done = template(*arguments)
    assert done.returncode == 0, done.stderr
    # The loader in C is five times as fast, with the same results.
    return pickle.dumps([one for one in yaml.load_all(done.stdout, yaml.CSafeLoader) if one])


def find(objects: list[Object], kind: str, name: str, namespace: str | None = None) -> Object:
    """Return the one object of that kind and name."""
    found = [
        one
        for one in objects
        if (one["kind"], one["metadata"]["name"]) == (kind, name)
        and namespace in (None, one["metadata"].get("namespace"))
    ]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name}"
    return found[0]


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    """Return the pod specs of the objects, including those in templates, by the object's name."""
    specs = {}
    for one in objects:
        if one["kind"] == "Pod":
            specs[one["metadata"]["name"]] = one["spec"]
        elif one["kind"] in ("Deployment", "Job"):
            specs[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
    return specs


def environment(spec: Object) -> dict[str, str]:
    """Return the environment of a pod's first container."""
    return {one["name"]: one.get("value", "") for one in spec["containers"][0]["env"]}


def profiles(objects: list[Object]) -> dict[str, Object]:
    """Return the specs of the default profiles, by name, as the hook applies them."""
    job = find(objects, "Job", "agentrun-profiles")
    specs: dict[str, Object] = json.loads(environment(job["spec"]["template"]["spec"])["PROFILES"])
    return specs
