"""The payload of the NOTIFY with which an MCP server notifies others of a run's change."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """A notification that a run has changed."""

    sender: str
    """The process that made the change, which ignores the notification."""
    uid: str
    last_seq: int | None
    """The journal's new head; None if something else changed, or it was sealed."""

    def encode(self) -> str:
        """Encode the notice, in about a hundred bytes. PostgreSQL accepts up to 7999."""
        return " ".join(
            (self.sender, "-" if self.last_seq is None else str(self.last_seq), self.uid)
        )


def decode(payload: str) -> Notice | None:
    """Decode a notice; None if it is invalid, since any client may use the channel."""
    parts = payload.split(" ", 2)
    if len(parts) != 3:
        return None
    sender, last_seq, uid = parts
    if last_seq == "-":
        return Notice(sender, uid, None)
    return Notice(sender, uid, int(last_seq)) if last_seq.isdecimal() else None
