"""``agentrun``, and ``python -m agentrun.cli``."""

import sys


def main() -> None:
    """Run the command line, if all of it is installed."""
    try:
        from agentrun.cli.app import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"agentrun: {error.name} is not installed: install agentrun[cli]")
    except KeyboardInterrupt:
        # Before there was anything to interrupt.
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
