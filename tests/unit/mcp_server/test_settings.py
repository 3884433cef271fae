import pytest

from mcp_server.access.subjects import Access
from mcp_server.settings import Settings, SettingsError, load_settings


def test_defaults_apply_without_an_environment() -> None:
    assert load_settings({}) == Settings(namespaces=("default",))


def test_everything_can_be_set() -> None:
    environment = {
        "AGENTRUN_NAMESPACES": "a, b,,a",
        "AGENTRUN_ACCESS": '[{"kind": "User", "name": "jane"}]',
        "AGENTRUN_STORE_URL": "sqlite:////tmp/x.db",
        "AGENTRUN_BLOBS_URL": "file:///tmp/blobs",
        "AGENTRUN_ALLOWED_HOSTS": "runs.test",
        "AGENTRUN_PUBLIC_URL": "https://agents.test/",
        "AGENTRUN_ISSUER_URL": "https://issuer.test",
        "AGENTRUN_HOST": "127.0.0.1",
        "AGENTRUN_PORT": "1",
        "AGENTRUN_GATEWAY_PORT": "2",
        "AGENTRUN_DRAIN_SECONDS": "5",
        "AGENTRUN_LOG_LEVEL": "debug",
    }
    assert load_settings(environment) == Settings(
        namespaces=("a", "b"),
        access=Access(users=frozenset({"jane"})),
        store_url="sqlite:////tmp/x.db",
        blobs_url="file:///tmp/blobs",
        allowed_hosts=("runs.test", "agents.test"),
        public_url="https://agents.test",
        issuer_url="https://issuer.test",
        host="127.0.0.1",
        port=1,
        gateway_port=2,
        drain_seconds=5,
        log_level="DEBUG",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTRUN_ACCESS", "JSON"),
        ("AGENTRUN_PORT", "http"),
        ("AGENTRUN_GATEWAY_PORT", "70000"),
        ("AGENTRUN_PUBLIC_URL", "runs.test"),
        ("AGENTRUN_DRAIN_SECONDS", "soon"),
        ("AGENTRUN_LOG_LEVEL", "LOUD"),
    ],
)
def test_an_invalid_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} .*{value}"):
        load_settings({name: value})
