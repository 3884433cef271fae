"""What an AgentProfile may say, tried on a real API server, and what a run may not."""

import json
import subprocess
from typing import Any

import pytest

from mcp_server.apply_profiles import ProfileHook, ProfileRefusedError
from tests.apiserver.conftest import Objects
from tests.apiserver.test_rules import SPEC, refused
from tests.quantities import ACCEPTED, REFUSED

PROFILE: dict[str, Any] = {"backend": "codex", "image": "i"}
SECRET = {"name": "s", "key": "k"}


async def test_a_profile_with_every_field_set_is_stored_unchanged(profiles: Objects) -> None:
    spec = {
        **PROFILE,
        "instructionFiles": [{"text": "a"}, {"path": ".codex/x.md", "configMap": SECRET}],
        "mcpServers": [
            {"name": "a", "command": "x", "args": ["y"], "env": [{"name": "E", "secret": SECRET}]},
            {"name": "b", "url": "http://b/mcp", "headers": [{"name": "A", "secret": SECRET}]},
            {"name": "c", "url": "http://c/mcp", "headers": [{"name": "A", "value": "v"}]},
        ],
        "caches": [
            {"claim": "npm", "mountPath": "/caches/npm"},
            {"claim": "npm", "mountPath": "/var/cache/go", "subPath": "go/mod", "readOnly": True},
        ],
        "network": {
            "caBundle": SECRET,
            "proxy": {"http": "http://p:1", "https": "http://p:1", "noProxy": [".example.com"]},
        },
        "git": {
            "credentialsSecret": "g",
            "repositories": ["https://git.example.com/team", "git@h:x", "ssh://git@h:22/x/y.git"],
            "branches": ["agentrun/*", "fix-*", "main"],
        },
        "provider": {
            "paths": ["GET /files/*/content", "POST /v1beta/models/m:embedContent"],
            "headers": ["OpenAI-Project"],
            "storedObjects": True,
        },
    }
    kept = (await profiles.create(spec))["spec"]
    assert kept["network"] == spec["network"]
    assert [cache["mountPath"] for cache in kept["caches"]] == ["/caches/npm", "/var/cache/go"]
    assert [server["name"] for server in kept["mcpServers"]] == ["a", "b", "c"]


@pytest.mark.parametrize("field", ["labels", "annotations", "metadataKeysToCopy"])
@pytest.mark.parametrize(
    "key",
    [
        "agentrun.dev/run", "x.agentrun.dev/a", "-a", "a-", "a b", "a/b/c", "/a", "A.com/a", "",
        "a." * 130 + "b/c", "x" * 64, "a..b/c",
    ],
)  # fmt: skip
async def test_the_metadata_of_pods_has_valid_keys_of_others(
    profiles: Objects, field: str, key: str
) -> None:
    value = [key] if field == "metadataKeysToCopy" else {key: "v"}
    with refused(field):
        await profiles.create({**PROFILE, "pod": {field: value}})


async def test_the_metadata_of_pods_is_stored(profiles: Objects) -> None:
    pod = {
        "labels": {"team": "a", "example.com/B_1.c": "", "sidecar.istio.io/inject": "false"},
        "annotations": {"karpenter.sh/do-not-disrupt": "true", "a": "any text, {}"},
        "metadataKeysToCopy": ["example.com/", "kueue.x-k8s.io/queue-name", "team"],
    }
    kept = (await profiles.create({**PROFILE, "pod": pod}))["spec"]["pod"]
    assert {key: kept[key] for key in pod} == pod


@pytest.mark.parametrize("value", ["a b", "-a", "x" * 64])
async def test_a_label_of_pods_has_a_valid_value(profiles: Objects, value: str) -> None:
    with refused("labels"):
        await profiles.create({**PROFILE, "pod": {"labels": {"a": value}}})


def with_name(name: str) -> dict[str, Any]:
    """A profile that names objects of others, all with the same name."""
    return {
        **PROFILE,
        "imagePullSecrets": [name],
        "volumes": [name],
        "workspace": {"volume": name},
        "git": {"credentialsSecret": name},
        "pod": {"runtimeClassName": name, "priorityClassName": name},
        "agentTools": {"children": {"profiles": [name]}},
        "provider": {"keySecret": {"name": name, "key": ".key"}},
        "caches": [{"claim": name, "mountPath": "/caches/npm"}],
        "network": {"caBundle": {"name": name, "key": "ca.crt"}},
    }


@pytest.mark.parametrize("name", ["plain", "ghcr.io", "1.2", "a" * 253])
async def test_a_profile_names_any_object_of_kubernetes(profiles: Objects, name: str) -> None:
    spec = with_name(name)
    kept = (await profiles.create(spec))["spec"]
    assert {field: kept[field] for field in ("imagePullSecrets", "volumes", "workspace")} == {
        field: spec[field] for field in ("imagePullSecrets", "volumes", "workspace")
    }


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a.", "a..b", "a/b", "a" * 254])
async def test_a_profile_names_nothing_that_cannot_exist(profiles: Objects, name: str) -> None:
    with refused("spec.imagePullSecrets[0]"):
        await profiles.create(with_name(name))


async def test_a_profile_may_have_any_name_of_kubernetes(profiles: Objects) -> None:
    assert (await profiles.create(PROFILE, "gpt-5.1"))["metadata"]["name"] == "gpt-5.1"


def with_quantity(quantity: Any) -> dict[str, Any]:
    return {
        **PROFILE,
        "resources": {"requests": {"cpu": quantity}, "limits": {"cpu": quantity}},
        "pod": {"workspaceSize": quantity},
        "sessions": {"maxSnapshotSize": quantity},
    }


@pytest.mark.parametrize("quantity", [written for written, _ in ACCEPTED.values()], ids=ACCEPTED)
async def test_a_quantity_is_what_a_pod_accepts(profiles: Objects, quantity: Any) -> None:
    kept = (await profiles.create(with_quantity(quantity)))["spec"]
    assert kept["resources"]["limits"]["cpu"] == quantity
    assert kept["pod"]["workspaceSize"] == quantity


@pytest.mark.parametrize("quantity", REFUSED.values(), ids=REFUSED)
async def test_a_quantity_is_not_what_a_pod_refuses(profiles: Objects, quantity: Any) -> None:
    with refused("limits.cpu"):
        await profiles.create(with_quantity(quantity))


@pytest.mark.parametrize(
    "path",
    [
        "/workspace", "/workspace/x", "/agentrun", "/agentrun/pipes", "/home/agent",
        "/home/agent/.npm", "/home", "/tmp/x", "/var/run/secrets/x", "/var", "/etc", "/usr/lib",
    ],
)  # fmt: skip
async def test_a_cache_hides_nothing_of_the_pod(profiles: Objects, path: str) -> None:
    with refused("use one such as /caches/npm"):
        await profiles.create({**PROFILE, "caches": [{"claim": "c", "mountPath": path}]})


@pytest.mark.parametrize("path", ["caches", "/", "/a/", "/a//b", "/a/../b", "/a/./b", "/a:b", ""])
async def test_a_cache_path_is_absolute_and_normalized(profiles: Objects, path: str) -> None:
    with refused("mountPath"):
        await profiles.create({**PROFILE, "caches": [{"claim": "c", "mountPath": path}]})


@pytest.mark.parametrize(
    ("more", "saying"),
    [
        pytest.param(
            {"caches": [{"claim": "a", "mountPath": "/c"}, {"claim": "b", "mountPath": "/c"}]},
            "Duplicate value",
            id="two-caches-in-one-place",
        ),
        pytest.param(
            {"caches": [{"claim": "a", "mountPath": "/c", "subPath": "../x"}]},
            "subPath must be a relative path",
            id="sub-path-that-climbs",
        ),
        pytest.param(
            {"caches": [{"claim": "a", "mountPath": "/c", "subPath": "/x"}]},
            "subPath must be a relative path",
            id="sub-path-from-the-root",
        ),
        pytest.param(
            {"mcpServers": [{"name": "a"}]}, "either a command or a url", id="server-of-nothing"
        ),
        pytest.param(
            {"mcpServers": [{"name": "a", "command": "x", "url": "http://x"}]},
            "either a command or a url",
            id="server-of-both",
        ),
        pytest.param(
            {"mcpServers": [{"name": "a", "url": "http://x", "args": ["y"]}]},
            "args and env require a command",
            id="arguments-for-a-url",
        ),
        pytest.param(
            {"mcpServers": [{"name": "a", "command": "x", "headers": [{"name": "A"}]}]},
            "headers require a url",
            id="headers-for-a-program",
        ),
        pytest.param(
            {"mcpServers": [{"name": "a", "url": "http://x", "headers": [{"name": "A"}]}]},
            "either a value or a secret",
            id="header-of-nothing",
        ),
        pytest.param({"mcpServers": [{"name": "a b", "command": "x"}]}, "name", id="server-name"),
        pytest.param(
            {"env": [{"name": "A", "value": "1", "secret": SECRET}]},
            "either a value or a secret",
            id="variable-of-both",
        ),
        pytest.param(
            {"instructionFiles": [{"path": "/etc/x", "text": "t"}]},
            "relative to the agent's home",
            id="instructions-outside",
        ),
        pytest.param(
            {"instructionFiles": [{"path": "a/../../x", "text": "t"}]},
            "relative to the agent's home",
            id="instructions-that-climb",
        ),
        pytest.param(
            {"instructionFiles": [{"path": ".codex/config.toml", "text": "t"}]},
            "which AgentRun writes",
            id="instructions-over-the-config",
        ),
        pytest.param(
            {"instructionFiles": [{"path": "a"}]}, "a text or a configMap", id="empty-instructions"
        ),
        pytest.param(
            {"backend": "acp", "instructionFiles": [{"text": "t"}]},
            "needs a path",
            id="instructions-for-an-unknown-agent",
        ),
        pytest.param(
            {"backend": "remote_a2a", "caches": [{"claim": "a", "mountPath": "/c"}]},
            "backend remote_a2a does not support",
            id="cache-for-an-agent-elsewhere",
        ),
        pytest.param(
            {"network": {"proxy": {"http": "http://u:p@proxy:1"}}},
            "belongs in a Secret",
            id="password-in-the-open",
        ),
        pytest.param({"network": {"proxy": {}}}, "set the proxy", id="no-proxy"),
        pytest.param(
            {"network": {"proxy": {"http": "http://p:1", "urlSecret": SECRET}}},
            "set the proxy",
            id="proxy-twice",
        ),
        pytest.param(
            {"network": {"caBundle": {"name": "a", "key": "../x"}}}, "key", id="key-that-climbs"
        ),
        pytest.param(
            {"git": {"repositories": ["git.example.com"]}}, "with its scheme", id="no-scheme"
        ),
        pytest.param(
            {"git": {"repositories": ["https://h/x?y"]}}, "with its scheme", id="url-with-a-query"
        ),
        pytest.param({"git": {"repositories": ["file:///x"]}}, "with its scheme", id="a-folder"),
        pytest.param({"git": {"branches": ["a b"]}}, "a branch name", id="no-branch"),
        pytest.param({"git": {"branches": ["a\\b"]}}, "a branch name", id="backslash-branch"),
        pytest.param({"provider": {"paths": ["/files"]}}, "paths", id="path-without-a-method"),
        pytest.param({"provider": {"paths": ["GET /a/%2e"]}}, "paths", id="encoded-path"),
        pytest.param({"provider": {"paths": ["GET /a//b"]}}, "paths", id="empty-segment"),
        pytest.param({"provider": {"headers": ["a: b"]}}, "headers", id="header-with-a-value"),
    ],
)
async def test_a_contradictory_profile_is_rejected(
    profiles: Objects, more: dict[str, Any], saying: str
) -> None:
    with refused(saying):
        await profiles.create({**PROFILE, **more})


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/o/r.git", "http://git:8080/x", "ssh://git@h:22/x", "git@h:o/r.git",
        "git://h/x",
    ],
)  # fmt: skip
async def test_a_repository_may_have_any_url_that_git_can_clone(runs: Objects, url: str) -> None:
    await runs.create({**SPEC, "workspace": {"git": {"url": url}}})


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc", "/srv/x", "ext::sh -c id", "-u x", "ssh://-oProxyCommand=x/y", "h:x",
        "git@-h:x", "https://", "https://h x", "HTTPS//x",
    ],
)  # fmt: skip
async def test_a_repository_is_neither_a_file_nor_a_program(runs: Objects, url: str) -> None:
    with refused("a repository's url must begin with https://"):
        await runs.create({**SPEC, "workspace": {"git": {"url": url}}})


def apply(spec: dict[str, Any], *flags: str) -> subprocess.CompletedProcess[str]:
    run = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "escalates"},
        "spec": {**SPEC, **spec},
    }
    return subprocess.run(
        ["kubectl", "create", "--dry-run=server", "-o", "json", "-f", "-", *flags],
        input=json.dumps(run),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "field",
    [
        "env", "envFrom", "image", "imagePullSecrets", "secret", "volumes", "caches", "command",
        "serviceAccountName", "securityContext", "nodeSelector", "mcpServers", "network", "git",
        "instructionFiles", "pod", "provider", "resources",
    ],
)  # fmt: skip
def test_a_run_cannot_set_a_secret_an_image_or_pod_fields(field: str) -> None:
    asked = apply({field: [{"name": "x"}]})
    assert asked.returncode == 1
    assert f'unknown field "spec.{field}"' in asked.stderr
    # Who switches the check off gets a run without the field.
    unchecked = apply({field: [{"name": "x"}]}, "--validate=false")
    assert unchecked.returncode == 0, unchecked.stderr
    assert field not in json.loads(unchecked.stdout)["spec"]


def test_a_runs_workspace_has_no_other_fields() -> None:
    for workspace in ({"git": {"url": "https://h/x", "credentialsSecret": "s"}}, {"secret": "s"}):
        assert "unknown field" in apply({"workspace": workspace}).stderr


async def test_the_hook_writes_no_profile_with_a_field_that_does_not_exist(
    profiles: Objects,
) -> None:
    hook = ProfileHook(profiles.kube, profiles.namespace, {"app": "hook"})
    misspelt = {"misspelt": PROFILE | {"timeoutz": {"activeDeadlineSeconds": 60}}}
    unknown = r'400.*unknown field "spec.timeoutz"'
    with pytest.raises(ProfileRefusedError, match=unknown):
        await hook.apply(misspelt)
    await hook.apply({"misspelt": PROFILE})
    with pytest.raises(ProfileRefusedError, match=unknown):
        await hook.apply(misspelt)
    assert "timeoutz" not in (await profiles.get("misspelt"))["spec"]
