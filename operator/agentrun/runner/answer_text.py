"""
Finds the JSON values in an agent's last message.

Models put reasoning, prose and code fences around an answer. Each possible answer is a text here,
the most likely first; the schema decides which one is taken. What is inside another value, or
inside a value that is not valid JSON, is never an answer: a part of an answer could satisfy the
schema by accident. The time is proportional to the length of the message.
"""

import re
from collections import deque
from collections.abc import Iterator

MAX_CANDIDATES = 32
"""The last values of a message that are looked at, of each kind."""

WHOLE = 2
"""So many candidates are the message as a whole: if one is JSON, no part of it is an answer."""
_IN_VAIN = (4, 100_000)
"""
How many characters may be searched in vain for the ends of values: so many times the message's
length, and so many more.
"""
_NAME = "think|thinking|thought|reasoning|reflection|analysis|scratchpad"
_MARK = re.compile(
    rf"[<\[◁](?P<slash>/?)(?:\w{{1,20}}:)?(?P<name>{_NAME})[>\]▷]|[\[{{]", re.IGNORECASE
)
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_JSON_BEGINS = re.compile(r'\{\s*+["}]|\[\s*+(?:["\[\]{\-0-9]|true|false|null)')
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^\n]*)")
_AROUND = "\ufeff \t\r\n"


def candidates(text: str) -> Iterator[str]:
    """
    Yield the texts that may be the answer in a message, the most likely first.

    The whole message; the message without its reasoning; the code blocks, the last one first; the
    objects, and then the lists, in the rest of the message, the last one first.
    """
    yield text.strip(_AROUND)
    scan = _Scan(text)
    spoken = "".join(scan.spoken)
    yield spoken.strip(_AROUND)
    yield from reversed(_fenced(spoken))
    values = [*reversed(scan.values)]
    yield from (value for value in values if value[0] == "{")
    yield from (value for value in values if value[0] == "[")


class _Scan:
    """One pass over a message."""

    def __init__(self, text: str) -> None:
        self.values = deque[str](maxlen=MAX_CANDIDATES)
        """What is in balanced brackets that are in no others, outside of the reasoning."""
        self.spoken: list[str] = []
        """Everything but the reasoning."""
        self._text = text
        self._left = _IN_VAIN[0] * len(text) + _IN_VAIN[1]
        self._unclosed: set[str] = set()
        begin = at = 0
        while mark := _MARK.search(text, at):
            if mark["name"] is None:
                at = self._value(mark.start())
            elif mark["slash"]:
                # It begins in the prompt's template: everything so far was reasoning.
                self.values.clear()
                self.spoken.clear()
                begin = at = mark.end()
            elif end := self._end_of_reasoning(mark.end(), mark["name"].lower()):
                self.spoken.append(text[begin : mark.start()])
                begin = at = end
            else:
                at = mark.end()
        self.spoken.append(text[begin:])

    def _value(self, begin: int) -> int:
        """Note the value that begins at a bracket, and return where to go on."""
        end = _end_of_value(self._text, begin)
        if end is not None:
            self.values.append(self._text[begin:end])
            return end
        self._left -= len(self._text) - begin
        # What follows is inside a value that is cut off, or is not worth the time.
        is_json = _JSON_BEGINS.match(self._text, begin)
        return len(self._text) if is_json or self._left < 0 else begin + 1

    def _end_of_reasoning(self, at: int, name: str) -> int:
        """Return where reasoning ends; 0 if its beginning is no tag, but talk of one."""
        if name in self._unclosed:
            return 0
        tag = re.compile(rf"[<\[◁]/(?:\w{{1,20}}:)?{name}[>\]▷]", re.IGNORECASE)
        if end := tag.search(self._text, at):
            return end.end()
        self._unclosed.add(name)
        return 0


def _end_of_value(text: str, begin: int) -> int | None:
    """Return where the brackets that begin at ``begin`` are balanced; None if they never are."""
    depth = 0
    for token in _TOKEN.finditer(text, begin):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if not depth:
            return token.end()
    return None


def _fenced(text: str) -> deque[str]:
    """Return the content of the code blocks; the last one may be unfinished."""
    blocks = deque[str](maxlen=MAX_CANDIDATES)
    fence, lines = "", list[str]()
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line.rstrip("\r"))
        if not fence:
            fence, lines = match[1] if match else "", []
        elif match and match[1].startswith(fence) and not match[2].strip():
            blocks.append("\n".join(lines))
            fence = ""
        else:
            lines.append(line)
    if fence:
        blocks.append("\n".join(lines))
    return blocks
