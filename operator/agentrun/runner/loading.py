"""Loading what runs an attempt in two thirds of the time that its imports take by themselves."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quickly() -> Iterator[None]:
    """
    Import models without the descriptions of their fields, and collect no garbage meanwhile.

    Models ask for descriptions by ``use_attribute_docstrings``, and then the source of each is read
    and tokenized, at each start of a runner, which shows no schema to anybody. pydantic has no
    switch for it. The ACP library defines hundreds of models, of which the runner uses a dozen:
    they are built when they are first used, which saves 3 MB of the 64 that a runner may take.
    What is loaded stays, so looking for garbage among it is for nothing, now and later.
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
