"""
A value that is null, missing or of another type: refused by its path, or without consequences.

Helm removes a key whose value is null, and keeps the old chart's values with --reuse-values, so a
template cannot rely on a default. The schema is asked directly, a thousand times as fast as
helm; what it accepts is rendered.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.chart import helm
from tests.unit.chart.test_values import DEFAULTS, SCHEMA

Keys = tuple[str, ...]

VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
PROBES: list[Any] = [None, {}, [], "x", "", 7, -1, True, False, {"x": "y"}, [None]]
MEANING_OF_NULL = {
    "never deletes a run": ("operator", "ttlSecondsAfterFinished"),
    "the backend's provider": ("profiles", "codex", "provider", "baseURL"),
    "no key": ("profiles", "codex", "provider", "keySecret"),
}
GO = ("nil pointer", "untyped nil", "error calling", "can't evaluate", "wrong type", "YAML parse")


def paths(values: dict[str, Any], above: Keys = ()) -> Iterator[Keys]:
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def coalesced(keys: Keys, probe: Any) -> dict[str, Any]:
    """Return the defaults as Helm merges a value into them: null removes a key, maps are merged."""
    values: dict[str, Any] = copy.deepcopy(DEFAULTS)
    at = values
    for key in keys[:-1]:
        at = at[key]
    last = keys[-1]
    if probe is None:
        del at[last]
    elif isinstance(probe, dict) and isinstance(at[last], dict):
        at[last].update(probe)
    else:
        at[last] = probe
    return values


def nested(keys: Keys, probe: Any) -> dict[str, Any]:
    for key in reversed(keys):
        probe = {key: probe}
    assert isinstance(probe, dict)
    return probe


def refusals(values: dict[str, Any]) -> list[str]:
    return [
        f"{'.'.join(str(key) for key in error.absolute_path)}: {error.message}"
        for error in VALIDATOR.iter_errors(values)
    ]


def is_opaque(keys: Keys) -> bool:
    """Whether the value has the form of a part of a pod, in which any key can be removed."""
    return bool({"resources", "securityContext", "containerSecurityContext"} & set(keys[:-1]))


def one_of_each() -> Iterator[Keys]:
    """Leave out all but one of the profiles and of the images: they share a schema."""
    for keys in paths(DEFAULTS):
        if keys[0] not in ("profiles", "images") or keys[1:2] in ((), ("codex",), ("mcpServer",)):
            yield keys


@pytest.mark.parametrize("keys", [pytest.param(one, id=".".join(one)) for one in one_of_each()])
def test_null_or_another_type_is_refused_by_its_path_or_renders(tmp_path: Path, keys: Keys) -> None:
    for probe in PROBES:
        values = coalesced(keys, probe)
        if values == DEFAULTS:
            continue
        if refused := refusals(values):
            assert any(keys[-1] in one for one in refused), (probe, refused)
            continue
        file = tmp_path / "values.json"
        file.write_text(json.dumps(nested(keys, probe)))
        done = helm.run(
            "helm", "template", "agentrun", helm.CHART, "--namespace", "agentrun-system",
            "--kube-version", helm.KUBERNETES, "--set", "crds.enabled=false", "--values", file,
        )  # fmt: skip
        assert not any(word in done.stderr for word in GO), (probe, done.stderr)
        assert done.returncode == 0 or keys[-1] in done.stderr, (probe, done.stderr)


def test_every_value_that_has_no_meaning_as_null_is_required() -> None:
    accepted = {
        keys
        for keys in paths(DEFAULTS)
        if not is_opaque(keys) and not refusals(coalesced(keys, None))
    }
    wanted = {MEANING_OF_NULL["never deletes a run"]}
    for profile in DEFAULTS["profiles"]:
        for meaning in ("the backend's provider", "no key"):
            part, _, *rest = MEANING_OF_NULL[meaning]
            wanted.add((part, profile, *rest))
    assert accepted == wanted


@pytest.mark.parametrize(
    "keys", [("users",), ("operator", "pod"), ("mcpServer", "persistence", "enabled"), ("images",)]
)
def test_helm_names_the_missing_value(keys: Keys) -> None:
    done = helm.template("--set-json", f"{'.'.join(keys)}=null")
    assert done.returncode != 0
    assert f"missing property '{keys[-1]}'" in done.stderr
    assert "/".join(keys[:-1]) in done.stderr


@pytest.mark.parametrize(
    "setting", ["operator.ttlSecondsAfterFinished=null", "operator.ttlSecondsAfterFinished=never"]
)
def test_a_ttl_of_null_or_never_deletes_no_run(setting: str) -> None:
    spec = helm.pod_specs(helm.render("--set", setting))["agentrun-operator"]
    assert helm.environment(spec)["AGENTRUN_TTL_SECONDS"] == "never"
