"""Values of Secrets do not leave, in any of their forms."""

import base64
import json
from urllib.parse import quote

import pytest

from agentrun.runner.journal.redact import REDACTED, Redactor

VALUE = 'p@ss"wörd/+ 12'
KEY = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQABAAABgQ\nBBBBB3NzaC1yc2EAAAADAQABAAABgQ\n"


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(VALUE, id="plain"),
        pytest.param(json.dumps(VALUE)[1:-1], id="json"),
        pytest.param(quote(VALUE, safe=""), id="url"),
        pytest.param(VALUE.encode().decode("latin-1"), id="utf-8-as-latin-1"),
        pytest.param(base64.b64encode(VALUE.encode()).decode(), id="base64"),
        pytest.param(base64.b64encode(b"u:" + VALUE.encode()).decode(), id="basic-auth"),
    ],
)
def test_every_encoding_of_a_secret_is_replaced(form: str) -> None:
    clean = Redactor([VALUE]).text(f"before {form} after")
    assert REDACTED in clean
    assert form not in clean


def test_lines_of_a_key_are_replaced_one_by_one() -> None:
    clean = Redactor([KEY]).text("it begins with AAAAB3NzaC1yc2EAAAADAQABAAABgQ, see")
    assert clean == f"it begins with {REDACTED}, see"


def test_short_values_are_not_changed() -> None:
    assert Redactor(["12345"]).text("12345") == "12345"


def test_structures_are_cleaned_in_values_and_keys() -> None:
    data = Redactor(["secret-1"]).data({"secret-1": ["x secret-1", 3, None]})
    assert data == {REDACTED: [f"x {REDACTED}", 3, None]}


@pytest.mark.parametrize("cut", range(1, len("secret-value")))
def test_text_that_ends_within_a_secret_is_held_back(cut: int) -> None:
    redactor = Redactor(["secret-value"])
    text = "say " + "secret-value"[:cut]
    assert redactor.safe_length(text) == 4


def test_text_without_the_start_of_a_secret_is_released_at_once() -> None:
    assert Redactor(["secret-value"]).safe_length("say nothing") == len("say nothing")


def test_overlapping_secrets_are_redacted_completely() -> None:
    redactor = Redactor(["begin-middle", "middle-end"])
    assert "".join(redactor.stream(["say begin-middle", "."])) == f"say {REDACTED}."
    assert redactor.safe_length("say begin-middle") == 4


def test_a_longer_secret_is_awaited_although_a_shorter_one_matches() -> None:
    redactor = Redactor(["s3cr3t", "s3cr3t-and-more"])
    assert "".join(redactor.stream(["a s3cr3t", "-and-more b"])) == f"a {REDACTED} b"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_stream_is_redacted_like_the_full_text_however_it_is_split(size: int) -> None:
    redactor = Redactor([VALUE, KEY, "begin-middle", "middle-end"])
    encoded = base64.b64encode(VALUE.encode()).decode()
    text = f"x {VALUE} p@ss {KEY} begin-middle-end {encoded} pass" * 3
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert "".join(redactor.stream(pieces)) == redactor.text(text)
