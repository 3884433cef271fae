"""
The manifest of the pod that executes a run.

``agentrun.api.pod_layout`` defines the file layout within the pod.
"""

from pathlib import PurePosixPath
from typing import Any

from agentrun.api import pod_layout as layout
from agentrun.api.base import API_VERSION
from agentrun.api.gateway import TOKEN_AUDIENCE
from agentrun.api.names import pod_name
from agentrun.api.pod_metadata import copied
from agentrun.api.resolve import timeouts_of, workspace_of
from agentrun.api.v1alpha1 import AgentProfile, AgentProfileSpec, AgentRun
from agentrun.backends import backend_of
from agentrun.controller.pod.containers import (
    CALLS_SIZE,
    HOME_SIZE,
    PIPES_SIZE,
    TMP_SIZE,
    agent_container,
    clones,
    runner_container,
    spool_size,
)
from agentrun.controller.pod.references import (
    SECRET_MODE,
    agent_volumes,
    backend_volumes,
    reference_volumes,
)
from agentrun.controller.settings import OperatorTimeouts, PodDefaults

TOKEN_SECONDS = 3600
"""The lifetime of a runner's token in seconds; the kubelet renews it."""


def build_pod(
    run: AgentRun, profile: AgentProfile, settings: PodDefaults, timeouts: OperatorTimeouts
) -> dict[str, Any]:
    """Build the manifest of the pod that executes the newest attempt of ``run``."""
    offered = profile.spec
    allowed = timeouts_of(run.spec, offered, timeouts.of_runs)
    runner = runner_container(run, offered, settings, allowed, timeouts.gateway)
    has_agent = not backend_of(run.spec.backend).is_remote
    containers = [agent_container(run, offered, settings), runner] if has_agent else [runner]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": allowed.grace,
        # Only for a pod that remains after the operator was uninstalled: all deadlines of a run
        # are earlier.
        "activeDeadlineSeconds": 2 * (allowed.deadline + allowed.input),
        # The agent runs code that it wrote itself: it gets no Kubernetes credentials.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": False,
        "securityContext": _security_context(offered.pod.run_as_user),
        "containers": containers,
        "volumes": _volumes(run, offered),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(run, offered, settings),
        "spec": spec | _placement(offered),
    }


def _metadata(run: AgentRun, profile: AgentProfileSpec, settings: PodDefaults) -> dict[str, Any]:
    """Build the metadata; AgentRun's own takes precedence."""
    keys = profile.pod.metadata_keys_to_copy
    return {
        "name": pod_name(run.metadata.name, run.attempts),
        "namespace": run.metadata.namespace,
        "labels": {
            **settings.labels,
            **profile.pod.labels,
            **copied(run.metadata.labels, keys),
            "app.kubernetes.io/name": "agentrun",
            "app.kubernetes.io/component": "run",
            layout.LABEL_RUN: run.metadata.name,
            layout.LABEL_RUN_UID: run.metadata.uid,
            layout.LABEL_ATTEMPT: str(run.attempts),
            layout.LABEL_SESSION: run.session_name,
            layout.LABEL_BACKEND: run.spec.backend,
        },
        "annotations": {
            **settings.annotations,
            **profile.pod.annotations,
            **copied(run.metadata.annotations, keys),
            "kubectl.kubernetes.io/default-container": layout.RUNNER,
        },
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "AgentRun",
                "name": run.metadata.name,
                "uid": run.metadata.uid,
                "controller": True,
            }
        ],
    }


def _security_context(user: int) -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _placement(profile: AgentProfileSpec) -> dict[str, Any]:
    placement = {
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
        "nodeSelector": profile.pod.node_selector,
        "tolerations": profile.pod.tolerations,
        "runtimeClassName": profile.pod.runtime_class_name,
        "priorityClassName": profile.pod.priority_class_name,
    }
    return {key: value for key, value in placement.items() if value}


def _volumes(run: AgentRun, profile: AgentProfileSpec) -> list[dict[str, Any]]:
    claim = workspace_of(run.spec, profile).volume
    workspace = (
        {"persistentVolumeClaim": {"claimName": claim}}
        if claim
        else {"emptyDir": {"sizeLimit": profile.pod.workspace_size}}
    )
    volumes = [
        {"name": "pipes", "emptyDir": {"medium": "Memory", "sizeLimit": PIPES_SIZE}},
        {"name": "calls", "emptyDir": {"medium": "Memory", "sizeLimit": CALLS_SIZE}},
        {"name": "workspace", **workspace},
        {"name": "home", "emptyDir": {"sizeLimit": HOME_SIZE}},
        {"name": "agent-tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
        {"name": "runner-tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
        {"name": "spool", "emptyDir": {"sizeLimit": spool_size(profile)}},
        *_repository_volumes(run, profile),
        {"name": "token", "projected": {"defaultMode": SECRET_MODE, "sources": [_token()]}},
        *reference_volumes(profile),
        *backend_volumes(run),
    ]
    if backend_of(run.spec.backend).is_remote:
        return [volume for volume in volumes if volume["name"] != "agent-tmp"]
    return [*volumes, *agent_volumes(profile)]


def _repository_volumes(run: AgentRun, profile: AgentProfileSpec) -> list[dict[str, Any]]:
    """Return the volume of the private repository, as large as the workspace."""
    if not clones(run, profile):
        return []
    return [{"name": "repository", "emptyDir": {"sizeLimit": profile.pod.workspace_size}}]


def _token() -> dict[str, Any]:
    return {
        "serviceAccountToken": {
            "audience": TOKEN_AUDIENCE,
            "expirationSeconds": TOKEN_SECONDS,
            "path": PurePosixPath(layout.TOKEN_FILE).name,
        }
    }
