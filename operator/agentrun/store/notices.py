"""What one MCP server tells the others about a run, in the few bytes of a NOTIFY."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """Something of a run has changed."""

    sender: str
    """The process that changed it, and so knows already."""
    uid: str
    last_seq: int | None
    """The journal's new head; None if it is something else that changed, or it was sealed."""

    def encode(self) -> str:
        """Write it. PostgreSQL takes up to 7999 bytes; this is a hundred."""
        return " ".join(
            (self.sender, "-" if self.last_seq is None else str(self.last_seq), self.uid)
        )


def decode(payload: str) -> Notice | None:
    """Read a notice; None if it is none of ours, for anybody may use the channel."""
    parts = payload.split(" ", 2)
    if len(parts) != 3:
        return None
    sender, last_seq, uid = parts
    if last_seq == "-":
        return Notice(sender, uid, None)
    return Notice(sender, uid, int(last_seq)) if last_seq.isdecimal() else None
