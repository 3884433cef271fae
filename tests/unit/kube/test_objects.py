"""What is read of manifests equals what the models read of them."""

from typing import Any

import pytest

from agentrun.api.pod_layout import LABEL_RUN_UID
from agentrun.api.v1alpha1 import AgentRun, AgentSession, Phase
from agentrun.kube import objects


@pytest.mark.parametrize("status", [{}, *({"phase": str(phase)} for phase in Phase)])
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"session": {}},
        {"session": {"mode": "resume", "name": "talk"}, "profile": "large"},
        {"parent": {"name": "above", "uid": "u-2"}, "desiredState": "Cancelled"},
        {"backend": "codex", "desiredState": "Active"},
    ],
)
def test_a_manifest_of_a_run_reads_as_its_model(
    spec: dict[str, Any], status: dict[str, Any]
) -> None:
    manifest: dict[str, Any] = {
        "metadata": {"namespace": "ns", "name": "fix-1", "uid": "u-1"},
        "spec": {"backend": "claude_code", "prompt": "fix it", **spec},
        "status": status,
    }
    run = AgentRun.model_validate(manifest)
    assert objects.key_of(manifest) == (run.metadata.namespace, run.metadata.name)
    assert objects.uid_of(manifest) == run.metadata.uid
    assert objects.session_of(manifest) == ("ns", run.session_name)
    assert objects.profile_of(manifest) == ("ns", run.spec.profile_name)
    parent = run.spec.parent
    assert objects.parent_of(manifest) == (("ns", parent.name) if parent else None)
    assert objects.is_finished(manifest) is run.is_finished
    assert objects.is_cancel_requested(manifest) is run.is_cancel_requested


@pytest.mark.parametrize("status", [{}, {"activeRun": {"name": "fix-1", "uid": "u-1"}}])
def test_a_manifest_of_a_session_reads_as_its_model(status: dict[str, Any]) -> None:
    manifest = {"metadata": {"name": "talk"}, "spec": {"backend": "codex"}, "status": status}
    active = AgentSession.model_validate(manifest).status.active_run
    assert objects.holder_of(manifest) == ((active.name, active.uid) if active else None)


def test_a_pod_belongs_to_the_run_that_controls_it() -> None:
    owner = {"kind": "AgentRun", "name": "fix-1", "uid": "u-1"}
    pod: dict[str, Any] = {"metadata": {"ownerReferences": [owner | {"controller": True}]}}
    assert objects.run_uid_of(pod) == "u-1"
    assert objects.is_pod_of(pod, "u-1")
    assert not objects.is_pod_of(pod, "u-2")
    owned: dict[str, Any] = {"metadata": {"ownerReferences": [owner]}}
    assert objects.run_uid_of(owned) is None
    assert objects.run_uid_of({"metadata": {}}) is None


@pytest.mark.parametrize(
    ("owners", "uid"),
    [
        pytest.param([], "u-1", id="an-orphan"),
        pytest.param([{"kind": "Node", "name": "n", "uid": "u-3"}], "u-1", id="no-controller"),
        pytest.param(
            [{"kind": "AgentRun", "name": "a", "uid": "u-2", "controller": True}],
            "u-2",
            id="another-run",
        ),
        pytest.param(
            [{"kind": "Job", "name": "a", "uid": "u-2", "controller": True}],
            None,
            id="a-copied-label",
        ),
    ],
)
def test_a_label_names_the_run_of_a_pod_without_a_controller(
    owners: list[dict[str, Any]], uid: str | None
) -> None:
    metadata = {"labels": {LABEL_RUN_UID: "u-1"}, "ownerReferences": owners}
    assert objects.run_uid_of({"metadata": metadata}) == uid
