"""The hook that applies the default profiles."""

from typing import Any

import pytest
from aiohttp import web

from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PROFILES, Resource
from mcp_server import apply_profiles
from mcp_server.apply_profiles import INSTANCE, ProfileHook, ProfileRefusedError, main
from tests.accounts import in_a_pod
from tests.fake_kube import FakeKube

LABELS = {"app": "agentrun"}
NOT_FOUND = ApiError(404, "NotFound", "404 page not found")


class Api(FakeKube):
    """The API server, with errors to answer with before anything works."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[ApiError] = []
        self.requests: list[str] = []

    def admit(self, verb: str, resource: Resource, name: str) -> None:
        self.requests.append(verb)
        if self.errors:
            raise self.errors.pop(0)

    @property
    def profiles(self) -> dict[str, Any]:
        return {name: stored for (_, _, name), stored in self.objects.items()}


@pytest.fixture
def api() -> Api:
    return Api()


async def apply(api: Api, specs: dict[str, Any], labels: dict[str, str] = LABELS) -> None:
    await ProfileHook(api, "agents", labels, pauses=(0.0,)).apply(specs)


def own(api: Api, name: str, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    metadata = {"name": name, "labels": labels or {"app": "mine"}}
    return api.add(PROFILES, "agents", {"metadata": metadata, "spec": spec})


async def test_profiles_are_created_and_updated(api: Api) -> None:
    await apply(api, {"codex": {"backend": "codex"}})
    await apply(api, {"codex": {"backend": "codex", "image": "new"}})
    profile = api.profiles["codex"]
    assert (profile["apiVersion"], profile["kind"]) == ("agentrun.dev/v1alpha1", "AgentProfile")
    assert profile["metadata"]["labels"] == LABELS
    assert profile["spec"] == {"backend": "codex", "image": "new"}


async def test_field_that_is_no_longer_set_is_removed(api: Api) -> None:
    await apply(api, {"codex": {"backend": "codex", "models": {"default": "m"}}})
    await apply(api, {"codex": {"backend": "codex"}})
    assert api.profiles["codex"]["spec"] == {"backend": "codex"}


async def test_profile_that_the_api_server_finds_invalid_is_not_retried(api: Api) -> None:
    api.errors = [ApiError(422, "Invalid", "spec.image: Required")]
    with pytest.raises(ProfileRefusedError, match=r"422 spec.image: Required"):
        await apply(api, {"codex": {}})
    assert len(api.requests) == 1


async def test_profile_that_is_no_longer_enabled_is_deleted_and_others_stay(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    own(api, "own")
    await apply(api, {"codex": {}, "claude-code": {}})
    await apply(api, {"codex": {}})
    assert set(api.profiles) == {"own", "codex"}
    assert capsys.readouterr().out.splitlines() == [
        "agentprofile agents/codex applied",
        "agentprofile agents/claude-code applied",
        "agentprofile agents/codex applied",
        "agentprofile agents/claude-code deleted: it is no longer enabled",
    ]


async def test_users_profile_with_a_default_name_is_not_changed(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    made = own(api, "codex", image="mine")
    await apply(api, {"codex": {"image": "the chart's"}, "claude-code": {}})
    assert api.profiles["codex"] == made
    assert "claude-code" in api.profiles
    assert "agentprofile agents/codex is not the chart's" in capsys.readouterr().out


async def test_profile_of_an_installation_under_another_name_is_taken_over(api: Api) -> None:
    labels = {"app": "agentrun", INSTANCE: "before"}
    own(api, "codex", labels)
    await apply(api, {"codex": {"image": "new"}}, labels | {INSTANCE: "now"})
    assert api.profiles["codex"]["spec"] == {"image": "new"}
    assert api.profiles["codex"]["metadata"]["labels"][INSTANCE] == "now"


async def test_hook_waits_until_the_crd_is_served(api: Api) -> None:
    api.errors = [NOT_FOUND, ApiUnavailableError("not now", 503), NOT_FOUND]
    await apply(api, {"codex": {}})
    assert api.requests == ["list"] * 4 + ["create"]


async def test_hook_fails_at_once_where_waiting_does_not_help(api: Api) -> None:
    api.errors = [ApiError(401, "Unauthorized", "who are you")]
    with pytest.raises(ProfileRefusedError, match=r"401 who are you"):
        await apply(api, {"codex": {}})
    assert api.requests == ["list"]


async def test_hook_fails_after_its_timeout(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_profiles, "_RETRY_SECONDS", -1)
    api.errors = [NOT_FOUND]
    with pytest.raises(ProfileRefusedError, match="404"):
        await apply(api, {"codex": {}})


async def test_hook_follows_its_environment_with_its_pods_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, str(request.rel_url)))
        return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})

    env = {"PROFILES": '{"codex": {}}', "LABELS": '{"app": "agentrun"}', "NAMESPACES": "a,b"}
    async with in_a_pod(answer, monkeypatch, tmp_path):
        await main(env)
    paths = [PROFILES.path(namespace) for namespace in "ab"]
    listed = "limit=500&labelSelector=app%3Dagentrun"
    assert seen == [
        each
        for path in paths
        for each in (("GET", f"{path}?{listed}"), ("POST", f"{path}?fieldValidation=Strict"))
    ]
