"""Loading the ACP library in half the time that its import takes."""

from typing import Any

import pydantic


def load() -> None:
    """
    Import the library's models without the descriptions of their fields.

    The library asks for them by ``use_attribute_docstrings``, and then the source of each of its
    hundreds of models is read and tokenized, at each start of a runner, which shows no schema to
    anybody. pydantic has no switch for it.
    """
    as_asked = pydantic.ConfigDict

    def without_descriptions(**config: Any) -> dict[str, Any]:
        return {**config, "use_attribute_docstrings": False}

    setattr(pydantic, "ConfigDict", without_descriptions)  # noqa: B010 - mypy refuses the other way
    try:
        import acp.schema  # noqa: F401
    finally:
        setattr(pydantic, "ConfigDict", as_asked)  # noqa: B010
