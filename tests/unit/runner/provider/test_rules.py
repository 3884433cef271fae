"""What an agent may ask of the provider with the profile's key, and what it may not."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from agentrun.api import pod_layout
from agentrun.api.v1alpha1 import AgentProfileSpec
from agentrun.backends import backend_of
from agentrun.backends.backend import ProviderApi
from agentrun.runner.provider.bodies import MAX_DEPTH, Named, UnreadableBodyError, names_in
from agentrun.runner.provider.paths import NotOfferedError, canonical_path, find, routes_of
from agentrun.runner.provider.proxy import ProviderProxy
from agentrun.runner.provider.rules import Rules, error_body
from tests.unit.runner.harness import serve
from tests.unit.runner.provider.test_proxy import free_port

NEEDED = [
    ("codex", "POST", "/responses"),
    ("codex", "POST", "/responses/compact"),
    ("codex", "GET", "/models?client_version=0.1"),
    ("claude_code", "POST", "/v1/messages?beta=true"),
    ("claude_code", "POST", "/v1/messages/count_tokens?beta=true"),
    ("claude_code", "GET", "/v1/models?limit=1000"),
    ("claude_code", "HEAD", "/"),
    ("opencode", "POST", "/chat/completions"),
    ("opencode", "GET", "/models"),
    ("gemini", "POST", "/v1beta/models/gemini-2.5-pro:generateContent"),
    ("gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
    ("gemini", "POST", "/v1beta/models/gemini-2.5-pro:countTokens"),
]


@pytest.mark.parametrize(("backend", "method", "path"), NEEDED)
def test_each_agent_may_send_the_requests_that_it_needs(
    backend: str, method: str, path: str
) -> None:
    assert find(routes_of(backend_of(backend).provider_api), method, path).target == path
    assert find(routes_of(None), method, path).target == path


ATTACKS = [
    ("GET", "/v1/files/file-1/content"),
    ("DELETE", "/v1/files/file-1"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/organization/admin_api_keys"),
    ("GET", "/v1/responses/resp_1"),
    ("DELETE", "/v1/responses/resp_1"),
    ("POST", "/v1/messages/batches"),
    ("GET", "/v1/messages/batches/b/results"),
    ("POST", "/v1beta/cachedContents"),
    ("GET", "/v1beta/files/x:download"),
    ("PUT", "/v1/messages"),
    ("DELETE", "/v1/models/ft-mine"),
    ("GET", "/../../team-b/v1/models"),
    ("GET", "/%2e%2e/team-b/v1/models"),
    ("GET", "/v1/%2E%2e/models"),
    ("GET", "/v1/models/..%2ffiles"),
    ("GET", "/v1/models/..%5cfiles"),
    ("GET", "/v1/models/%252e%252e%252ffiles"),
    ("GET", "/v1/models/..;/files"),
    ("GET", "/v1/models\\..\\files"),
    ("GET", "/v1/models%00"),
    ("GET", "/v1/models%0d%0ax"),
    ("GET", "/v1/models%3f/../files"),
    ("GET", "/v1/models%23"),
    ("GET", "/v1/models/%ff"),
    ("POST", "/v1beta/models/a:generateContent?%24httpMethod=DELETE"),
    ("POST", "/v1/messages?beta=true&$httpMethod=DELETE"),
    ("CONNECT", "/v1/messages"),
]


@pytest.mark.parametrize(("method", "path"), ATTACKS)
def test_other_requests_are_refused(method: str, path: str) -> None:
    for backend in ("codex", "claude_code", "opencode", "gemini", "acp", "remote_a2a"):
        with pytest.raises(NotOfferedError):
            find(routes_of(backend_of(backend).provider_api), method, path)


def test_a_path_is_forwarded_in_its_normalized_form() -> None:
    assert canonical_path("//v1///mess%61ges/") == "/v1/messages"
    asked = find(
        routes_of(ProviderApi.GENERATE_CONTENT),
        "POST",
        "/v1beta/models/g%65mini:generateContent?key=mine",
    )
    assert (asked.target, asked.model) == ("/v1beta/models/gemini:generateContent", "gemini")


def test_a_profile_adds_paths() -> None:
    routes = routes_of(ProviderApi.RESPONSES, ["GET /files/*/content", "POST /embeddings"])
    assert find(routes, "GET", "/files/f-1/content?any=1").target == "/files/f-1/content?any=1"
    assert find(routes, "POST", "/embeddings").route.is_added
    for method, path in (("GET", "/files/a/b/content"), ("DELETE", "/files/f/content")):
        with pytest.raises(NotOfferedError, match=r"provider\.paths"):
            find(routes, method, path)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model": "m"}', id="plain"),
        pytest.param(b'{"model": "ok", "model": "m"}', id="first-of-two"),
        pytest.param(b'{"model": "m", "model": "ok"}', id="second-of-two"),
        pytest.param(b'{"m\\u006fdel": "m"}', id="escaped-key"),
        pytest.param(b'{"MODEL": "m", "model": "ok"}', id="other-letters"),
        pytest.param(b'{"model": "ok", "models": ["m"]}', id="instead"),
        pytest.param(b'{"model": "ok", "fallbacks": [{"model": "m"}]}', id="fallback"),
        pytest.param(b'{"model": "ok", "tools": [{"type": "x", "model": "m"}]}', id="tool"),
        pytest.param(
            b'{"generateContentRequest": {"model": "m", "contents": []}}', id="request-in-request"
        ),
    ],
)
def test_every_model_that_a_body_may_name_is_checked(body: bytes) -> None:
    assert "m" in names_in(body).models


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"container": "c"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "code_interpreter", "container": {"file_ids": ["file-1"]}}]},
        {"messages": [{"content": [{"source": {"type": "file", "file_id": "file-1"}}]}]},
        {"messages": [{"content": [{"file": {"fileId": "file-1"}}]}]},
        {"cachedContent": "cachedContents/1"},
        {"cached_content": "cachedContents/1"},
        {"contents": [{"parts": [{"fileData": {"fileUri": "files/1"}}]}]},
    ],
    ids=json.dumps,
)
def test_references_to_data_in_the_providers_account_are_detected(body: dict[str, Any]) -> None:
    assert names_in(json.dumps(body).encode()).stored


def test_tool_arguments_may_have_any_names() -> None:
    given = {"model": "x", "file_id": "y", "container": "z", "models": ["x"]}
    schema = {"type": "object", "properties": {"file_id": {"type": "string"}, "model": {}}}
    body = {
        "model": "m",
        "previous_response_id": None,
        "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "input": given}]},
            {"role": "user", "content": '{"file_id": "said"}'},
        ],
        "contents": [{"parts": [{"functionCall": {"args": given}}]}],
        "tools": [
            {"name": "a", "input_schema": schema, "parameters": schema},
            {"type": "code_interpreter", "container": {"type": "auto"}},
        ],
    }
    named = names_in(json.dumps(body).encode())
    assert named == Named(frozenset({"m"}))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b'"x"', b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1]', b"{'a':1}",
        b'{"a":1} {"model":"m"}', b'{"a":1}x', b'{"a":01}', b'{"a":NaN}', b'{"a":/**/1}', b'{,}',
        b'\xef\xbb\xbf{"a":1}', '{"model":"m"}'.encode("utf-16"), b'{"a":"\n"}', b'{"a" "b"}',
        b'{"a":[1 2]}', b'{"a":[,]}',
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)  # fmt: skip
def test_ambiguous_body_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBodyError):
        names_in(body)


def test_body_is_json_as_python_reads_it() -> None:
    body: dict[str, Any] = {
        "a": [1, -2.5e-3, True, None, {}, [], '\u00fc\U0001f600\\"\n'],
        "": {"b": [[{}]]},
    }
    for text in (
        json.dumps(body),
        json.dumps(body, indent=1),
        json.dumps(body, ensure_ascii=False),
    ):
        assert names_in(text.encode()).models == frozenset()


@asynccontextmanager
async def asked(
    backend: str = "codex", model: str | None = None, base: str = "/team-a/v1", **spec: Any
) -> AsyncIterator[tuple[list[web.Request], str]]:
    """Serve a proxy before a provider that answers everything; yield what that is asked."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        return web.json_response({})

    app, port = web.Application(), free_port()
    app.router.add_route("*", "/{path:.*}", answer)
    profile = AgentProfileSpec.model_validate({"backend": backend, "image": "none", **spec})
    async with serve(app) as url:
        key = {"authorization": "Bearer key"}
        proxy = ProviderProxy(f"{url}{base}", key, Rules.of(profile, model), "secret")
        async with proxy.serve(port):
            yield seen, f"http://127.0.0.1:{port}"


async def send(
    method: str, url: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = json.dumps(body).encode() if body is not None else None
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, URL(url, encoded=True), data=data, headers=named) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def test_the_key_is_not_added_to_requests_that_no_agent_needs() -> None:
    async with asked() as (seen, url):
        for method, path in ATTACKS:
            if method == "CONNECT" or "\\" in path:
                continue
            status, told = await send(method, f"{url}/secret{path}")
            assert status == 404
            assert told["error"]["message"]
        assert seen == []
        assert (await send("POST", f"{url}/secret//respons%65s", {"model": "m"}))[0] == 200
        assert seen[0].raw_path == "/team-a/v1/responses"
        assert seen[0].headers["authorization"] == "Bearer key"


@pytest.mark.parametrize(
    "path", ["/responses", "/", "/wrong/responses", "/secre/responses", "/SECRET/responses", "//"]
)
async def test_a_forwarded_port_alone_gives_no_access(path: str) -> None:
    async with asked() as (seen, url):
        status, told = await send("POST", url + path, {"model": "m"})
        assert (status, seen) == (404, [])
        assert "secret of the pod" in told["error"]["message"]


async def test_models_are_restricted_to_those_of_the_profile() -> None:
    models = {"allowed": ["small"], "default": "usual"}
    async with asked(models=models, base="", backend="acp") as (seen, url):
        for model in ("small", "usual"):
            assert (await send("POST", f"{url}/secret/responses", {"model": model}))[0] == 200
        status, told = await send("POST", f"{url}/secret/responses", {"model": "large"})
        assert status == 403
        assert "'large'" in told["error"]["message"]
        assert "small, usual" in told["error"]["message"]
        assert (await send("POST", f"{url}/secret/responses", {"input": "x"}))[0] == 403
        gemini = f"{url}/secret/v1beta/models"
        assert (await send("POST", f"{gemini}/small:generateContent", {}))[0] == 200
        status, told = await send("POST", f"{gemini}/large:generateContent", {})
        assert (status, told["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert len(seen) == 3


async def test_stored_data_is_not_referred_to_unless_the_profile_allows_it() -> None:
    body = {"model": "m", "previous_response_id": "resp_of_another"}
    async with asked() as (seen, url):
        status, told = await send("POST", f"{url}/secret/responses", body)
        assert (status, seen) == (403, [])
        assert "storedObjects" in told["error"]["message"]
    async with asked(provider={"storedObjects": True}) as (seen, url):
        assert (await send("POST", f"{url}/secret/responses", body))[0] == 200


async def test_headers_that_choose_an_organisation_are_dropped_unless_the_profile_names_them() -> (
    None
):
    headers = {
        "OpenAI_Organization": "other", "OpenAI_Project": "p", "x_goog_user_project": "p",
        "anthropic_organization_id": "o", "X_HTTP_Method_Override": "DELETE", "api_key": "k",
        "x_goog_api_key": "k", "cookie": "c", "openai_beta": "b", "user_agent": "agent",
    }  # fmt: skip
    async with asked(provider={"headers": ["OpenAI-Project", "api-key"]}) as (seen, url):
        await send("POST", f"{url}/secret/responses", {"model": "m"}, **headers)
    sent = {name.lower(): value for name, value in seen[0].headers.items()}
    usual = {"host", "content-length", "content-type", "accept", "accept-encoding"}
    kept = {"authorization", "openai-beta", "user-agent", "openai-project"}
    assert sent.keys() - usual == kept


async def test_bodies_and_concurrent_requests_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentrun.runner.provider.proxy.MAX_BODY_BYTES", 1000)
    monkeypatch.setattr("agentrun.runner.provider.proxy._AT_ONCE", 0)
    async with asked(backend="claude_code", base="") as (seen, url):
        status, told = await send("POST", f"{url}/secret/v1/messages", {"model": "m"})
        assert (status, told["type"], told["error"]["type"]) == (429, "error", "rate_limit_error")
        monkeypatch.setattr("agentrun.runner.provider.proxy._AT_ONCE", 1)
        status, told = await send("POST", f"{url}/secret/v1/messages", {"model": "m" * 1000})
        assert (status, told["error"]["type"]) == (413, "request_too_large")
        body = {"model": "m"}
        packed = await send("POST", f"{url}/secret/v1/messages", body, content_encoding="zstd")
        assert packed[0] == 415
        assert seen == []
        assert (await send("POST", f"{url}/secret/v1/messages", body))[0] == 200


def test_errors_have_the_form_of_the_provider() -> None:
    rules = Rules.of(AgentProfileSpec.model_validate({"backend": "gemini", "image": "i"}), None)
    assert error_body(rules.form, 404, "no")["error"]["status"] == "NOT_FOUND"


def test_the_agent_alone_receives_the_path(tmp_path: Any) -> None:
    """The bootstrap completes the URL in each variable, wherever in it it stands."""
    (tmp_path / "ready").touch()
    (tmp_path / "capability").write_text("abc\n")
    (tmp_path / "init").write_text("#!/bin/sh\nenv\n")
    (tmp_path / "init").chmod(0o755)
    script = pod_layout.agent_bootstrap(["A", "B", "C"]).replace(pod_layout.PIPES, str(tmp_path))
    url = pod_layout.PROXY_URL
    env = {"A": url, "B": f'{{"x": "{url}/v1", "y": "{url}", "z": "$(id) `id`"}}', "C": "none\n\n"}
    done = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True)
    assert f"A={url}/abc\n" in done.stdout
    assert f'B={{"x": "{url}/abc/v1", "y": "{url}/abc", "z": "$(id) `id`"}}\n' in done.stdout
    assert "C=none\n\n\n" in done.stdout
    assert "capability=" not in done.stdout
