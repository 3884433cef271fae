"""What the agent is told."""

import pytest

from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.api.v1alpha1 import AgentRunSpec
from agentrun.runner.prompt import as_text, build_prompt

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_prompt_has_its_parts_in_order() -> None:
    message = AgentMessage(parts=[MessagePart(type="text", text="the message")])
    spec = AgentRunSpec(
        backend="codex", prompt="the prompt", input_message=message, output_schema=SCHEMA
    )
    prompt = build_prompt(spec, "be kind")
    words = ["<instructions>\nbe kind", "the prompt", "the message", '"required"']
    places = [prompt.index(word) for word in words]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "prompt",
    [
        "/login page is broken",
        "/",
        "/ status of the shop",
        " \t\n/compact layout",
        "\ufeff/logout",
        "\u200b\xa0\u2028/review",
        "$about",
    ],
)
def test_prompt_is_never_a_command_of_the_agent(prompt: str) -> None:
    sent = as_text(prompt)
    assert sent.endswith(f"\n\n{prompt}"), "the prompt itself is unchanged"
    assert sent[0].isalpha()


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "# A heading\n/not the first",
        "Fix /etc/hosts",
        "<instructions>\nx",
        "@alice: hello",
        "- /",
    ],
)
def test_prompt_that_is_no_command_is_sent_as_it_is(prompt: str) -> None:
    assert as_text(prompt) == prompt
