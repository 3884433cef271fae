import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev import kind, paths, tools


@pytest.mark.parametrize("program", [*tools.ALL, tools.KIND], ids=lambda program: program.name)
def test_every_program_comes_from_a_pinned_module(program: tools.Program) -> None:
    module = tools.TOOLCHAIN / program.module
    assert (module / "go.sum").exists()
    if not program.package.startswith("./"):
        assert f"\t{program.package}\n" in (module / "go.mod").read_text("utf-8") + "\n" or (
            f"tool {program.package}\n" in (module / "go.mod").read_text("utf-8")
        )


def test_kubernetes_and_its_staging_modules_are_of_one_release() -> None:
    text = (tools.TOOLCHAIN / "kubernetes" / "go.mod").read_text("utf-8")
    assert f"k8s.io/kubernetes v{tools.KUBERNETES}\n" in text
    replaced = re.findall(r"^\s+(k8s\.io/\S+) => (\S+) v(\S+)$", text, re.MULTILINE)
    assert len(replaced) > 25
    assert {version for _, _, version in replaced} == {f"0{tools.KUBERNETES[1:]}"}


def test_kind_runs_the_same_release() -> None:
    assert kind.NODE_IMAGE.endswith(f":v{tools.KUBERNETES}")


def test_what_is_cached_depends_on_how_it_is_built() -> None:
    kubelet = next(program for program in tools.CLUSTER if program.name == "kubelet")
    other = tools.Program(kubelet.name, kubelet.module, kubelet.package, "-X other=1")
    assert tools.cached(kubelet) != tools.cached(other)


def test_a_build_does_not_block_users_of_other_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "cache", lambda: tmp_path)
    monkeypatch.setattr(tools, "_build", build_nothing)
    kubelet = next(program for program in tools.CLUSTER if program.name == "kubelet")
    with ThreadPoolExecutor() as others, tools.alone("build-kubernetes"):
        others.submit(tools.build, (tools.KIND_CONFIG,)).result(60)
        assert (paths.binaries() / "kindconfig").exists()
        waits = others.submit(tools.build, (kubelet,))
        with pytest.raises(TimeoutError):
            waits.result(0.1)
        # Who had to wait finds it done.
        build_nothing(kubelet, tools.cached(kubelet))
        monkeypatch.setattr(tools, "_build", None)
    waits.result(60)
    assert (paths.binaries() / "kubelet").exists()


def build_nothing(_: tools.Program, binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    binary.touch()
