"""The entry point of ``agentrun`` and ``python -m agentrun.cli``."""

import sys


def main() -> None:
    """Run the command line. Exit with a message if a required package is not installed."""
    try:
        from agentrun.cli.app import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"agentrun: {error.name} is not installed: install agentrun[cli]")
    except KeyboardInterrupt:
        # Interrupted during the imports, before a command started.
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
