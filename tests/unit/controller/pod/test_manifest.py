"""The whole manifest of a run's pod."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from agentrun.api.pod_layout import AGENT_ROOTS_BOOTSTRAP, agent_bootstrap
from agentrun.api.v1alpha1 import AgentProfile, AgentRun
from agentrun.controller.pod.manifest import build_pod
from agentrun.controller.settings import PodDefaults
from tests.unit.controller.samples import TIMEOUTS, a_profile, a_run

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = PodDefaults(gateway_url="http://gateway:8081", runner_image="registry/runner:1")

PLAIN = (a_run(attempts=1), a_profile())
EVERYTHING = (
    a_run(
        attempts=2,
        meta={"name": "run-1"},
        spec={
            "backend": "claude_code",
            "model": "m1",
            "session": {"name": "anna"},
            "workspace": {"volume": "shared"},
            "timeouts": {"terminationGracePeriodSeconds": 500},
        },
    ),
    a_profile(
        backend="claude_code",
        image="registry/claude:1",
        imagePullPolicy="Always",
        imagePullSecrets=["pull"],
        command=["claude-agent-acp", "--verbose"],
        models={"default": "m0", "allowed": ["m1"]},
        provider={"baseURL": "http://model:80", "keySecret": {"name": "provider", "key": "api"}},
        env=[
            {"name": "LANG", "value": "C.UTF-8"},
            {"name": "NPM_TOKEN", "secret": {"name": "npm", "key": "token"}},
            {"name": "CLAUDE_CODE_MAX_RETRIES", "value": "5"},
        ],
        git={"credentialsSecret": "git"},
        instructionFiles=[
            {"text": "Be brief."},
            {"path": ".claude/rules.md", "configMap": {"name": "rules", "key": "all.md"}},
        ],
        mcpServers=[
            {
                "name": "tickets",
                "url": "https://tickets.example.com/mcp",
                "headers": [
                    {"name": "X-Team", "value": "a"},
                    {"name": "Authorization", "secret": {"name": "tickets", "key": "header"}},
                ],
            },
            {
                "name": "search",
                "command": "search",
                "env": [{"name": "KEY", "secret": {"name": "tickets", "key": "search"}}],
            },
        ],
        caches=[
            {"claim": "npm", "mountPath": "/caches/npm"},
            {"claim": "go", "mountPath": "/caches/go", "subPath": "mod", "readOnly": True},
            {"claim": "npm", "mountPath": "/caches/pip", "subPath": "pip"},
        ],
        network={
            "caBundle": {"name": "authorities", "key": "ca.pem"},
            "proxy": {
                "urlSecret": {"name": "proxy", "key": "url"},
                "noProxy": ["git.example.com"],
            },
        },
        volumes=["shared"],
        timeouts={"terminationGracePeriodSeconds": 90},
        resources={"requests": {"cpu": "2"}, "limits": {"memory": "8Gi"}},
        pod={
            "nodeSelector": {"pool": "agents"},
            "tolerations": [{"key": "agents", "operator": "Exists"}],
            "runtimeClassName": "gvisor",
            "priorityClassName": "low",
            "runAsUser": 4242,
            "readOnlyRootFilesystem": False,
        },
    ),
)
REMOTE = (a_run(attempts=1, spec={"backend": "remote_a2a"}), a_profile(backend="remote_a2a"))


@pytest.mark.parametrize(
    ("name", "run", "profile", "leading"),
    [
        pytest.param("plain", *PLAIN, [], id="a-run-that-asks-for-nothing"),
        pytest.param(
            # A Secret may hold the way to the provider as well.
            "everything", *EVERYTHING,
            ["ANTHROPIC_BASE_URL", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
             "NPM_TOKEN"],
            id="a-profile-that-says-everything",
        ),
        pytest.param("remote", *REMOTE, [], id="an-agent-that-runs-elsewhere"),
    ],
)  # fmt: skip
def test_the_whole_manifest(
    name: str, run: AgentRun, profile: AgentProfile, leading: list[str]
) -> None:
    text = (GOLDEN / f"pod-{name}.yaml").read_text(encoding="utf-8")
    bootstrap = agent_bootstrap(leading)
    text = text.replace("ROOTS_BOOTSTRAP", json.dumps(AGENT_ROOTS_BOOTSTRAP + bootstrap))
    expected = yaml.safe_load(text.replace("BOOTSTRAP", json.dumps(bootstrap)))
    assert build_pod(run, profile, SETTINGS, TIMEOUTS) == expected


def test_an_abandoned_pod_ends_after_all_timeouts_of_its_run() -> None:
    limits = {"activeDeadlineSeconds": 600, "inputTimeoutSeconds": 300}
    run = a_run(attempts=1, spec={"timeouts": limits})
    assert build_pod(run, a_profile(), SETTINGS, TIMEOUTS)["spec"]["activeDeadlineSeconds"] == 1800


def test_codex_asks_where_its_profile_requires_it() -> None:
    run = a_run(attempts=1, spec={"backend": "codex"})
    agent, runner = build_pod(run, a_profile(permissionMode="Ask"), SETTINGS, TIMEOUTS)["spec"][
        "containers"
    ]
    assert {"name": "INITIAL_AGENT_MODE", "value": "read-only"} in agent["env"]
    assert {"name": "AGENTRUN_PERMISSION_MODE", "value": "Ask"} in runner["env"]


def test_the_agent_may_not_write_to_the_folder_of_its_first_process() -> None:
    agent, runner = build_pod(*EVERYTHING, SETTINGS, TIMEOUTS)["spec"]["containers"]
    pipes = {"name": "pipes", "mountPath": "/agentrun/pipes"}
    assert pipes in runner["volumeMounts"]
    assert {**pipes, "readOnly": True} in agent["volumeMounts"]
    assert not build_pod(*EVERYTHING, SETTINGS, TIMEOUTS)["spec"]["shareProcessNamespace"]


def test_only_the_runner_has_credentials() -> None:
    agent, runner = build_pod(*EVERYTHING, SETTINGS, TIMEOUTS)["spec"]["containers"]
    secret = {"token", "provider", "git", "redact", "mcp", "spool"}
    assert not secret & {mount["name"] for mount in agent["volumeMounts"]}
    assert secret <= {mount["name"] for mount in runner["volumeMounts"]}


def test_labels_and_annotations_of_settings_profile_and_run_are_merged() -> None:
    settings = replace(
        SETTINGS,
        labels={"team": "all", "kept": "yes", "app.kubernetes.io/name": "mine"},
        annotations={"team": "all"},
    )
    pod = {
        "labels": {"team": "payments"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "metadataKeysToCopy": ["cost.example.com/", "queue"],
    }
    given = {
        "cost.example.com/centre": "7", "queue": "low", "other.example.com/a": "b",
        "team": "mine", "queue.example.com/x": "y",
    }  # fmt: skip
    run = a_run(attempts=1, meta={"labels": given, "annotations": given})
    metadata = build_pod(run, a_profile(pod=pod), settings, TIMEOUTS)["metadata"]
    plain = build_pod(a_run(attempts=1), a_profile(), SETTINGS, TIMEOUTS)["metadata"]
    copied = {"cost.example.com/centre": "7", "queue": "low"}
    assert metadata["labels"] == {**plain["labels"], "kept": "yes", "team": "payments", **copied}
    assert metadata["annotations"] == {
        **plain["annotations"],
        "team": "all",
        "sidecar.istio.io/inject": "false",
        **copied,
    }


def test_nothing_of_a_run_is_copied_that_its_profile_does_not_name() -> None:
    given = {"sidecar.istio.io/inject": "false", "agentrun.dev/run": "another"}
    run = a_run(attempts=1, meta={"labels": given, "annotations": given})
    for keys in ([], ["agentrun.dev/", "agentrun.dev/run"]):
        profile = a_profile(pod={"metadataKeysToCopy": keys})
        metadata = build_pod(run, profile, SETTINGS, TIMEOUTS)["metadata"]
        assert metadata == build_pod(a_run(attempts=1), profile, SETTINGS, TIMEOUTS)["metadata"]
