"""The operator's settings."""

import pytest

from agentrun.controller.settings import SettingsError, settings_from

NEEDED = {
    "AGENTRUN_NAMESPACES": "team-a, team-b",
    "AGENTRUN_GATEWAY_URL": "http://gateway:8081",
    "AGENTRUN_RUNNER_IMAGE": "runner:1",
}


def test_unset_settings_have_defaults() -> None:
    settings = settings_from(NEEDED)
    assert settings.namespaces == ("team-a", "team-b")
    assert (settings.pod.gateway_url, settings.pod.runner_image) == (
        "http://gateway:8081",
        "runner:1",
    )
    timeouts = settings.timeouts
    assert (timeouts.start, timeouts.stuck, timeouts.ttl) == (300, 60, 604_800)
    assert (timeouts.deadline, timeouts.input, timeouts.grace) == (14_400, 86_400, 30)


def test_a_ttl_of_never_deletes_no_run() -> None:
    assert settings_from({**NEEDED, "AGENTRUN_TTL_SECONDS": "never"}).timeouts.ttl is None


def test_a_ttl_of_zero_is_valid() -> None:
    assert settings_from({**NEEDED, "AGENTRUN_TTL_SECONDS": "0"}).timeouts.ttl == 0


def test_the_metadata_of_pods_is_read_as_json() -> None:
    given = {
        "AGENTRUN_POD_LABELS": '{"team": "a", "example.com/b": ""}',
        "AGENTRUN_POD_ANNOTATIONS": '{"karpenter.sh/do-not-disrupt": "true"}',
    }
    pod = settings_from({**NEEDED, **given}).pod
    assert pod.labels == {"team": "a", "example.com/b": ""}
    assert pod.annotations == {"karpenter.sh/do-not-disrupt": "true"}


def test_the_runners_resources_are_read_as_json() -> None:
    given = '{"limits": {"cpu": "500m"}, "requests": {"memory": "128Mi"}}'
    resources = settings_from({**NEEDED, "AGENTRUN_RUNNER_RESOURCES": given}).pod.runner_resources
    assert (resources.limits, resources.requests) == ({"cpu": "500m"}, {"memory": "128Mi"})


@pytest.mark.parametrize(
    ("env", "name"),
    [
        pytest.param({"AGENTRUN_NAMESPACES": ""}, "AGENTRUN_NAMESPACES", id="no-namespace"),
        pytest.param({"AGENTRUN_NAMESPACES": " , "}, "AGENTRUN_NAMESPACES", id="empty-names"),
        pytest.param({"AGENTRUN_GATEWAY_URL": ""}, "AGENTRUN_GATEWAY_URL", id="no-gateway"),
        pytest.param({"AGENTRUN_RUNNER_IMAGE": ""}, "AGENTRUN_RUNNER_IMAGE", id="no-image"),
        pytest.param(
            {"AGENTRUN_RESYNC_SECONDS": "0"}, "AGENTRUN_RESYNC_SECONDS", id="no-time-at-all"
        ),
        pytest.param(
            {"AGENTRUN_STUCK_TIMEOUT_SECONDS": "1m"}, "AGENTRUN_STUCK_TIMEOUT_SECONDS", id="a-unit"
        ),
        *(
            pytest.param(
                {"AGENTRUN_RUNNER_RESOURCES": given}, "AGENTRUN_RUNNER_RESOURCES", id=given
            )
            for given in ("{", "[]", '{"limit": {}}', '{"limits": {"cpu": "many"}}')
        ),
        *(
            pytest.param({name: given}, name, id=f"{name}={given}")
            for name in ("AGENTRUN_POD_LABELS", "AGENTRUN_POD_ANNOTATIONS")
            for given in (
                "[]",
                '{"a": 1}',
                '{"agentrun.dev/run": "x"}',
                '{"-a": "x"}',
                '{"a/": ""}',
            )
        ),
        pytest.param({"AGENTRUN_POD_LABELS": '{"a": "b c"}'}, "AGENTRUN_POD_LABELS", id="value"),
    ],
)
def test_an_invalid_setting_is_named(env: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings_from({**NEEDED, **env})
