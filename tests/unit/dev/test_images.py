"""That an image is built anew whenever something changes that goes into it."""

import re
from pathlib import Path

import pytest

from dev import images, paths

DOCKERFILE = (paths.CHECKOUT / "images" / "Dockerfile").read_text(encoding="utf-8")


def sources() -> dict[str, set[str]]:
    """What each stage of the Dockerfile copies from the checkout, with what it is built on."""
    found: dict[str, set[str]] = {}
    for stage in DOCKERFILE.split("\nFROM ")[1:]:
        first, _, rest = stage.partition("\n")
        base, _, name = first.partition(" AS ")
        copied: set[str] = set()
        for words in re.findall(r"^COPY (.*)", rest, re.MULTILINE):
            origin = re.match(r"--from=(\S+)", words)
            copied |= found[origin[1]] if origin else set(words.split()[:-1])
        found[name] = copied | found.get(base, set())
    return found


@pytest.mark.parametrize("target", images.ALL)
def test_everything_copied_is_an_input(target: str) -> None:
    patterns = (*images.INPUTS["all"], *images.INPUTS[target])
    known = {file for pattern in patterns for file in paths.CHECKOUT.glob(pattern)}
    for source in sources()[target]:
        place = paths.CHECKOUT / source
        files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file()]
        missed = [f for f in files if f not in known and "__pycache__" not in f.parts]
        assert not missed, f"{missed} go into {target}, and are not among its inputs"


def test_no_image_runs_as_root() -> None:
    for target in images.ALL:
        stage = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
        assert "USER 1000:1000" in stage


def test_a_changed_base_is_a_changed_image() -> None:
    assert images.digest_of("dev", "one") != images.digest_of("dev", "two")
    assert images.digest_of("dev", "one") == images.digest_of("dev", "one")


def test_the_build_context_contains_what_is_copied() -> None:
    ignore = (Path(paths.CHECKOUT) / f"{images.DOCKERFILE}.dockerignore").read_text("utf-8")
    kept = [line[1:] for line in ignore.splitlines() if line.startswith("!")]
    for source in set().union(*sources().values()):
        assert any(source == k or source.startswith(f"{k}/") for k in kept), source
