from pathlib import Path

import pytest

from dev import store_fixtures


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    for name in ("postgres.crt", "postgres.key"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_the_stores_comply_with_the_restricted_standard(certificates: Path) -> None:
    objects = store_fixtures.objects(certificates)
    pods = [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"]
    assert len(pods) == len(store_fixtures.NAMES)
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_everything_of_the_stores_can_be_found_and_removed(certificates: Path) -> None:
    for one in store_fixtures.objects(certificates):
        assert one["metadata"]["labels"]["part"] == "stores"
        assert one["metadata"]["namespace"] == "agentrun-dev"


def test_the_databases_url_holds_no_password() -> None:
    assert store_fixtures.PASSWORD not in store_fixtures.DATABASE_URL
