"""What can go wrong at the command line, in words for the person who reads them."""


class CliError(Exception):
    """Something the user has to know: one line that names the thing and the next step."""


class AwayError(CliError):
    """The other side is away just now, and nothing was delivered: trying again may help."""


class RefusedError(CliError):
    """The API server answered with an error; whoever asked knows what to make of it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ToolRefusedError(CliError):
    """A tool of the MCP server refused, in its own words."""
