"""The list of small modules and shared names is that of the tree: a review shows what joins it."""

from dev import paths
from dev.modules import page


def test_the_list_is_the_generated_one() -> None:
    found = (paths.CHECKOUT / "dev/modules.txt").read_text(encoding="utf-8")
    assert found == page(), (
        "dev/modules.txt is out of date: run `make generate`, and see in its difference whether a"
        " new module reads better as a part of another, or a new class under another name"
    )


def test_a_module_that_many_import_is_not_listed() -> None:
    assert "agentrun.kube.client:" not in page()


def test_a_short_module_is_listed() -> None:
    assert "agentrun.api.printable: fewer than 30 lines\n" in page()


def test_a_module_with_one_importer_names_it() -> None:
    assert "agentrun.controller.decide: imported by agentrun.controller.reconcile alone\n" in page()


def test_a_class_name_that_two_modules_define_is_listed_with_both() -> None:
    assert "SettingsError: agentrun.controller.settings, mcp_server.settings\n" in page()


def test_a_class_name_of_one_module_is_not_listed() -> None:
    assert "RunRow" not in page()
