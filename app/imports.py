"""Imports made cheap: most of what a process imports it needs as long as it lives, and much of it never."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def for_life() -> Iterator[None]:
    """Imports that live as long as the process: looking through them for garbage took a sixth of the start.

    And pydantic builds what checks a model when the model is first used: of 125 most never are, 40 of them FastAPI's.
    """
    gc.disable()
    try:
        with _models_built_late(), without_extras():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_extras() -> Iterator[None]:
    """Hides what others import if they can, to no use here.

    structlog, httpx and mako: rich and pygments, for output in colours. FastAPI: the whole of the old pydantic, to
    refuse its models.
    """
    hidden = {"rich", "pygments", "pydantic.v1"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _models_built_late() -> Iterator[None]:
    # It would look for them in every package there is.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # noqa: TID251 - said, not read
    from pydantic import BaseModel
    from pydantic.warnings import UnsupportedFieldAttributeWarning

    BaseModel.model_config["defer_build"] = True
    # FastAPI silences it while it makes a route, which now is too early.
    warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
    base: Any = BaseModel
    rebuild = base.__dict__["model_rebuild"]

    def when_used(cls: type[BaseModel], /, *, raise_errors: bool = True, **options: Any) -> bool | None:
        """pydantic asks like this at the first use, a module for its own models without ``raise_errors``."""
        return None if raise_errors else rebuild.__get__(None, cls)(raise_errors=False, **options)

    base.model_rebuild = classmethod(when_used)
    try:
        yield
    finally:
        base.model_rebuild = rebuild
