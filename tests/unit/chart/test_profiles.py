"""The default profiles, and the hook that applies them."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from agentrun.api.crd import structural
from agentrun.api.v1alpha1 import AgentProfile
from agentrun.api.v1alpha1.profile import default_profile
from tests.unit.chart import helm

LABELS = {"app": "agentrun"}
COLLECTION = "/apis/agentrun.dev/v1alpha1/namespaces/agents/agentprofiles"


def load(name: str) -> ModuleType:
    """Load a script of the chart."""
    spec = importlib.util.spec_from_file_location(name, helm.CHART / "files" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    return load("apply_profiles")


@dataclass
class ApiServer:
    """As much of an API server as the hook needs."""

    profiles: dict[str, Any] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    """Statuses to answer with before anything works."""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any]:
        self.requests.append(method)
        if headers["Authorization"] != "Bearer token":
            return 401, {"message": "who are you"}
        if self.failures:
            return self.failures.pop(0), {"message": "not now"}
        url = urlsplit(path)
        name = url.path.removeprefix(COLLECTION).strip("/")
        if method == "GET" and name:
            return 200, self.profiles[name]
        if method == "GET":
            wanted = parse_qs(url.query)["labelSelector"][0].split("=")
            items = [p for p in self.profiles.values() if wanted in labels_of(p)]
            return 200, {"items": items}
        if method == "DELETE":
            return 200, self.profiles.pop(name)
        return self.write(method, name, json.loads(body), headers["Content-Type"])

    def write(self, method: str, name: str, body: Any, content_type: str) -> tuple[int, Any]:
        if method == "POST":
            assert content_type == "application/json"
            name = body["metadata"]["name"]
            if name in self.profiles:
                return 409, {"message": "exists"}
            self.profiles[name] = body
            return 201, body
        assert content_type == "application/json-patch+json"
        for change in body:
            assert change["op"] == "add"
            *parents, last = change["path"].strip("/").split("/")
            target = self.profiles[name]
            for parent in parents:
                target = target[parent]
            target[last] = change["value"]
        return 200, self.profiles[name]


def labels_of(profile: Any) -> list[list[str]]:
    return [[key, value] for key, value in profile["metadata"]["labels"].items()]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    state = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, answer = state.answer(self.command, self.path, body, self.headers)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the tests look at what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def apply(hook: ModuleType, server: ApiServer, specs: dict[str, Any], token: str = "token") -> None:
    hook.apply(hook.Api(server.url, token, None, pause=0), "agents", specs, LABELS)


def test_profiles_are_made_and_made_again(hook: ModuleType, server: ApiServer) -> None:
    apply(hook, server, {"codex": {"backend": "codex"}})
    apply(hook, server, {"codex": {"backend": "codex", "image": "new"}})
    assert server.profiles["codex"] == {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": "codex", "labels": LABELS},
        "spec": {"backend": "codex", "image": "new"},
    }


def test_field_that_is_no_longer_set_goes(hook: ModuleType, server: ApiServer) -> None:
    apply(hook, server, {"codex": {"backend": "codex", "models": {"default": "m"}}})
    apply(hook, server, {"codex": {"backend": "codex"}})
    assert server.profiles["codex"]["spec"] == {"backend": "codex"}


def test_profile_the_api_server_finds_invalid_is_not_tried_again(
    hook: ModuleType, server: ApiServer
) -> None:
    server.failures = [422]
    with pytest.raises(hook.RefusedError, match="422"):
        apply(hook, server, {"codex": {}})
    assert len(server.requests) == 1


def test_profile_that_is_no_longer_enabled_goes_and_others_stay(
    hook: ModuleType, server: ApiServer
) -> None:
    server.profiles["own"] = {"metadata": {"name": "own", "labels": {"app": "mine"}}}
    apply(hook, server, {"codex": {}, "claude-code": {}})
    apply(hook, server, {"codex": {}})
    assert set(server.profiles) == {"own", "codex"}


def test_profile_that_somebody_made_under_a_default_name_is_left_alone(
    hook: ModuleType, server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"metadata": {"name": "codex", "labels": {"app": "mine"}}, "spec": {"image": "mine"}}
    server.profiles["codex"] = own
    apply(hook, server, {"codex": {"image": "the chart's"}, "claude-code": {}})
    assert server.profiles["codex"] == own
    assert "claude-code" in server.profiles
    assert "agentprofile agents/codex is not the chart's" in capsys.readouterr().out


def test_profile_of_an_installation_under_another_name_is_taken_over(
    hook: ModuleType, server: ApiServer
) -> None:
    labels = {"app": "agentrun", hook.INSTANCE: "before"}
    server.profiles["codex"] = {"metadata": {"name": "codex", "labels": labels}, "spec": {}}
    specs = {"codex": {"image": "new"}}
    hook.apply(
        hook.Api(server.url, "token", None, pause=0),
        "agents",
        specs,
        labels | {hook.INSTANCE: "now"},
    )
    assert server.profiles["codex"]["spec"] == {"image": "new"}
    assert server.profiles["codex"]["metadata"]["labels"][hook.INSTANCE] == "now"


def test_hook_waits_until_the_kind_is_served(hook: ModuleType, server: ApiServer) -> None:
    server.failures = [404, 503, 404]
    apply(hook, server, {"codex": {}})
    assert server.requests == ["GET"] * 4 + ["POST"]


def test_hook_gives_up_at_once_where_waiting_does_not_help(
    hook: ModuleType, server: ApiServer
) -> None:
    with pytest.raises(hook.RefusedError, match=r"401 .*who are you"):
        apply(hook, server, {"codex": {}}, token="wrong")
    assert server.requests == ["GET"]


def test_hook_gives_up_in_the_end(
    hook: ModuleType, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "PATIENCE_SECONDS", -1)
    server.failures = [404]
    with pytest.raises(hook.RefusedError, match="404"):
        apply(hook, server, {"codex": {}})


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


def test_spec_adds_to_what_the_other_values_say() -> None:
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


def test_rights_of_the_hook_go_when_it_is_done() -> None:
    parts = [one for one in helm.render() if one["metadata"]["name"] == "agentrun-profiles"]
    assert {one["kind"] for one in parts} == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    for one in parts:
        annotations = one["metadata"]["annotations"]
        assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
        assert annotations["helm.sh/hook"] == "post-install,post-upgrade,post-rollback"


class TestHealth:
    """The check of `helm test`."""

    def test_passes_where_everything_answers(
        self, server: ApiServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with_token = load("check_health")
        assert with_token.main([]) == 0
        assert capsys.readouterr().out == ""

    def test_names_what_does_not_answer(
        self, server: ApiServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert load("check_health").main([f"{server.url}/readyz"]) == 1
        assert "/readyz answers 401" in capsys.readouterr().out
