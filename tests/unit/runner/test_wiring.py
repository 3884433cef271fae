"""What a profile equips an agent with: MCP servers, instruction files, authorities to trust."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from acp.schema import McpCapabilities

from agentrun.api import pod_layout
from agentrun.api.v1alpha1 import AgentProfileSpec, McpServer, SecretKey
from agentrun.runner.acp.mcp_servers import acp_servers, check_transports
from agentrun.runner.instructions import write_instructions
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError
from agentrun.runner.secrets import known_secrets, mcp_secret
from agentrun.runner.trust import is_bundle, write_roots
from tests.unit.runner.harness import write

SECRET = {"name": "tickets", "key": "header"}


def servers(*given: dict[str, object]) -> list[McpServer]:
    return [McpServer.model_validate({"name": "one", **server}) for server in given]


def test_mcp_servers_have_the_form_of_acp() -> None:
    given = servers(
        {"command": "serve", "args": ["-v"], "env": [{"name": "A", "value": "1"}]},
        {"url": "http://a/mcp", "headers": [{"name": "Authorization", "secret": SECRET}]},
        {"url": "http://b/sse", "transport": "sse"},
    )
    made = acp_servers(given, lambda key: f"{key.name}-{key.key}")
    assert [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in made] == [
        {"name": "one", "command": "serve", "args": ["-v"], "env": [{"name": "A", "value": "1"}]},
        {
            "type": "http",
            "name": "one",
            "url": "http://a/mcp",
            "headers": [{"name": "Authorization", "value": "tickets-header"}],
        },
        {"type": "sse", "name": "one", "url": "http://b/sse", "headers": []},
    ]


def test_a_secret_missing_in_the_pod_is_named() -> None:
    given = servers({"url": "http://a", "headers": [{"name": "A", "secret": SECRET}]})
    with pytest.raises(AttemptError, match="Secret tickets, key header") as raised:
        acp_servers(given, lambda key: None)
    assert raised.value.reason == "ProfileInvalid"


@pytest.mark.parametrize(
    ("server", "offered", "refused"),
    [
        pytest.param({"command": "x"}, None, False, id="program"),
        pytest.param({"url": "http://a"}, McpCapabilities(http=True), False, id="http"),
        pytest.param({"url": "http://a"}, McpCapabilities(sse=True), True, id="no-http"),
        pytest.param({"url": "http://a"}, None, True, id="says-nothing"),
        pytest.param(
            {"url": "http://a", "transport": "sse"}, McpCapabilities(sse=True), False, id="sse"
        ),
    ],
)
def test_an_agent_gets_only_servers_that_it_can_reach(
    server: dict[str, object], offered: McpCapabilities | None, refused: bool
) -> None:
    made = acp_servers(servers(server), lambda key: None)
    if not refused:
        check_transports(made, offered)
        return
    with pytest.raises(
        AttemptError, match="MCP server one of its profile: it does not support http"
    ):
        check_transports(made, offered)


def test_values_for_mcp_servers_and_the_proxy_are_secrets(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    write(tmp_path, f"{pod_layout.MCP_SECRETS}/tickets/header", "Bearer abcdefgh\n")
    write(tmp_path, pod_layout.PROXY_URL_FILE, "http://ada:p%40ssword@proxy:3128")
    found = known_secrets(layout)
    assert {"Bearer abcdefgh", "abcdefgh", "p%40ssword", "p@ssword"} <= set(found)
    assert mcp_secret(layout, SecretKey(**SECRET)) == "Bearer abcdefgh"
    assert mcp_secret(layout, SecretKey(name="tickets", key="other")) is None


def profile(*files: dict[str, object], backend: str = "claude_code") -> AgentProfileSpec:
    return AgentProfileSpec.model_validate(
        {"backend": backend, "image": "i", "instructionFiles": list(files)}
    )


@pytest.mark.parametrize(
    ("backend", "path"),
    [
        ("codex", ".codex/AGENTS.md"),
        ("claude_code", ".claude/CLAUDE.md"),
        ("opencode", ".config/opencode/AGENTS.md"),
        ("gemini", ".gemini/GEMINI.md"),
    ],
)
def test_instructions_are_written_where_the_agent_reads_them(
    tmp_path: Path, backend: str, path: str
) -> None:
    layout = Layout(root=tmp_path)
    write_instructions(layout, backend, profile({"text": "Be brief."}).instruction_files)
    assert (layout.home / path).read_text() == "Be brief."


def test_instructions_of_a_config_map_are_at_the_path_of_the_profile(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    write(tmp_path, f"{pod_layout.INSTRUCTIONS}/rules/all.md", "Ü")
    source: dict[str, object] = {
        "path": "notes/a.md",
        "configMap": {"name": "rules", "key": "all.md"},
    }
    write_instructions(layout, "acp", profile(source).instruction_files)
    assert (layout.home / "notes/a.md").read_text(encoding="utf-8") == "Ü"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"path": "out/a.md", "text": "x"}, "outside the agent's home"),
        ({"path": "a.md", "configMap": {"name": "no", "key": "k"}}, "ConfigMap no, key k"),
        ({"path": "file/a.md", "text": "x"}, "file/a.md cannot be written"),
        ({"text": "x"}, "needs a path"),
    ],
)
def test_an_instruction_file_that_cannot_be_placed_ends_the_run(
    tmp_path: Path, file: dict[str, object], message: str
) -> None:
    layout = Layout(root=tmp_path)
    layout.home.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (layout.home / "out").symlink_to(tmp_path / "elsewhere")
    (layout.home / "file").touch()
    with pytest.raises(AttemptError, match=message):
        write_instructions(layout, "acp", profile(file).instruction_files)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.fixture
def authority(tmp_path: Path) -> str:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=own"
    subprocess.run(
        [*command.split(), "-keyout", tmp_path / "key", "-out", tmp_path / "own.pem"],
        check=True,
        capture_output=True,
    )
    return (tmp_path / "own.pem").read_text().strip()


def names(bundle: Path) -> list[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    return [str(one["subject"]) for one in context.get_ca_certs()]


def test_the_runner_trusts_the_cas_of_its_image_and_of_the_profile(
    tmp_path: Path, authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(root=tmp_path)
    layout.spool.mkdir(parents=True)
    write_roots(layout)
    assert not layout.roots.exists()
    system = tmp_path / "system.pem"
    system.write_text(authority)
    monkeypatch.setattr(pod_layout, "SYSTEM_ROOTS", ("/no/such/file", str(system)))
    write(tmp_path, pod_layout.CA_FILE, authority)
    write_roots(layout)
    assert layout.roots.read_text().count("BEGIN CERTIFICATE") == 2
    assert "own" in names(layout.roots)[0]


@pytest.mark.parametrize("has_roots", [True, False])
def test_the_agent_gets_both_ca_bundles_in_one_file(
    tmp_path: Path, authority: str, has_roots: bool
) -> None:
    (tmp_path / "agentrun/roots").mkdir(parents=True)
    write(tmp_path, pod_layout.CA_FILE, authority)
    script = pod_layout.AGENT_ROOTS_BOOTSTRAP.replace("/agentrun/", f"{tmp_path}/agentrun/")
    for path in pod_layout.SYSTEM_ROOTS:
        script = script.replace(path, f"{tmp_path}{path}")
    if has_roots:
        # Without a newline at its end, as some are.
        write(tmp_path, pod_layout.SYSTEM_ROOTS[1], authority)
    subprocess.run(["/bin/sh", "-ec", f"{script} true"], check=True)
    bundle = tmp_path / pod_layout.AGENT_ROOTS.lstrip("/")
    assert bundle.read_text().count("-----BEGIN CERTIFICATE-----\n") == (2 if has_roots else 1)
    assert names(bundle)


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_file_without_a_certificate_is_not_a_ca_bundle(
    tmp_path: Path, text: str, authority: str
) -> None:
    layout = Layout(root=tmp_path)
    assert is_bundle(layout)
    write(tmp_path, pod_layout.CA_FILE, text)
    assert not is_bundle(layout)
    write(tmp_path, pod_layout.CA_FILE, authority)
    assert is_bundle(layout)


LOADS = """
import gc, linecache, pydantic
read, linecache.updatecache = [], lambda file, *_: read.append(file) or []
from agentrun.runner.__main__ import load
from agentrun.runner.loading import quickly
load()
with quickly():
    import agentrun.runner.acp.driver
import acp.schema, agentrun.api.v1alpha1
for model in (acp.schema.PermissionOption, agentrun.api.v1alpha1.AgentRunSpec):
    assert not [one for one in model.model_fields.values() if one.description], model
assert not [file for file in read if "acp" in file or "agentrun" in file], read
assert pydantic.ConfigDict(use_attribute_docstrings=True) == {"use_attribute_docstrings": True}
assert gc.isenabled() and gc.get_freeze_count() > 10_000
"""


@pytest.mark.slow
def test_modules_of_the_runner_are_loaded_without_their_source() -> None:
    subprocess.run([sys.executable, "-c", LOADS], check=True)
