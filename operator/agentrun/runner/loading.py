"""Imports the modules that run an attempt in two thirds of the usual time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quickly() -> Iterator[None]:
    """
    Import models without the descriptions of their fields, and without garbage collection.

    With ``use_attribute_docstrings``, the source of each model is read and tokenized at each start
    of a runner, which shows no schema. pydantic has no switch for it. The ACP library defines
    hundreds of models, of which the runner uses a dozen: they are built at their first use, which
    saves 3 MB of the 64 MB that a runner may use. Imported objects stay, so collecting garbage
    among them is useless, now and later.
    """
    import pydantic

    as_asked = pydantic.ConfigDict

    def without_descriptions(**config: Any) -> dict[str, Any]:
        return {**config, "use_attribute_docstrings": False}

    pydantic.BaseModel.model_config["defer_build"] = True
    setattr(pydantic, "ConfigDict", without_descriptions)  # noqa: B010 - mypy refuses the other way
    gc.disable()
    try:
        yield
    finally:
        setattr(pydantic, "ConfigDict", as_asked)  # noqa: B010
        gc.freeze()
        gc.enable()
