"""The errors of the command line, with messages for users."""


class CliError(Exception):
    """An error for the user: one line that names the subject and the next step."""


class AwayError(CliError):
    """The remote side is unavailable and nothing was delivered. A retry may succeed."""


class RefusedError(CliError):
    """The API server returned an error status. The caller decides how to handle it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ToolRefusedError(CliError):
    """A tool of the MCP server returned an error; the message is the tool's."""
