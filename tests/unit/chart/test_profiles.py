"""The default profiles, and the check of `helm test`."""

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from agentrun.api.crd import structural
from agentrun.api.v1alpha1 import AgentProfile, default_profile
from tests.unit.chart import helm


@pytest.mark.parametrize("values", ["default", "everything"])
def test_profiles_are_valid(values: str) -> None:
    objects = helm.render("--values", helm.VALUES / f"{values}.yaml")
    schema = structural(AgentProfile)["properties"]["spec"]
    for name, spec in helm.profiles(objects).items():
        jsonschema.validate(spec, closed(schema))
        assert name == default_profile(spec["backend"])


def closed(schema: Any) -> Any:
    """Forbid fields that the schema does not name, as the API server would drop them."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict):
        result["additionalProperties"] = False
    return result


def test_default_profiles_are_those_of_the_installed_agents() -> None:
    specs = helm.profiles(helm.render())
    assert {name: spec["image"] for name, spec in specs.items()} == {
        "codex": "agentrun/agent:0.1.0",
        "claude-code": "agentrun/agent:0.1.0",
    }


def test_spec_adds_to_the_other_values() -> None:
    specs = helm.profiles(helm.render("--values", helm.VALUES / "everything.yaml"))
    assert set(specs) == {"codex", "gemini"}
    codex = specs["codex"]
    assert codex["models"] == {"default": "some-model", "allowed": ["some-model", "other-model"]}
    assert codex["git"] == {"credentialsSecret": "git-credentials"}
    assert codex["imagePullSecrets"] == ["pull"]
    assert codex["provider"] == {
        "baseURL": "http://model.internal/v1",
        "keySecret": {"name": "keys", "key": "openai"},
    }


def test_the_other_agents_are_offered_in_their_own_image() -> None:
    enabled = "profiles.opencode.enabled=true,profiles.gemini.enabled=true"
    specs = helm.profiles(helm.render("--set", enabled))
    for name, secret in (("opencode", "openai-key"), ("gemini", "gemini-key")):
        assert (specs[name]["backend"], specs[name]["image"]) == (name, "agentrun/agent-more:0.1.0")
        assert specs[name]["provider"] == {"keySecret": {"name": secret, "key": "key"}}


def test_quantities_that_are_numbers_in_the_values_are_strings_in_the_profile() -> None:
    resources = '{"requests": {"cpu": 0.5}, "limits": {"cpu": 2, "memory": 4294967296}}'
    specs = helm.profiles(helm.render("--set-json", f"profiles.codex.resources={resources}"))
    assert specs["codex"]["resources"] == {
        "requests": {"cpu": "0.5", "memory": "512Mi"},
        "limits": {"cpu": "2", "memory": "4294967296"},
    }


@pytest.mark.parametrize("field", ["baseURL", "keySecret"])
def test_provider_field_set_to_null_is_left_out(field: str) -> None:
    specs = helm.profiles(
        helm.render(
            "--values", helm.ROOT / "dev" / "values.yaml",
            "--set", f"profiles.codex.provider.{field}=null",
        )
    )  # fmt: skip
    assert field not in specs["codex"]["provider"]
    assert field in specs["claude-code"]["provider"]


def test_rights_of_the_hook_are_deleted_when_it_succeeds() -> None:
    parts = [one for one in helm.render() if one["metadata"]["name"] == "agentrun-profiles"]
    assert {one["kind"] for one in parts} == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    for one in parts:
        annotations = one["metadata"]["annotations"]
        assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
        assert annotations["helm.sh/hook"] == "post-install,post-upgrade,post-rollback"


def check_health() -> ModuleType:
    """Load the chart's script."""
    file = helm.CHART / "files" / "check_health.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a server that answers 401."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


class TestHealth:
    """The check of `helm test`."""

    def test_succeeds_if_everything_responds(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert check_health().main([]) == 0
        assert capsys.readouterr().out == ""

    def test_names_what_does_not_respond(
        self, url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert check_health().main([f"{url}/readyz"]) == 1
        assert "/readyz answers 401" in capsys.readouterr().out
