"""What the agent is told."""

from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.api.v1alpha1 import AgentRunSpec
from agentrun.runner.prompt import build_prompt

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
