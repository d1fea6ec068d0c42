"""Imports made cheap: most of what a process imports it needs as long as it lives, and much of it never."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_life() -> Iterator[None]:
    """Imports that live as long as the process: looking through them for garbage took a sixth of the start.

    And pydantic builds what checks a model when the model is first used: of 125 most never are, 40 of them FastAPI's.
    """
    gc.disable()
    try:
        _build_models_late()
        with without_extras():
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


def _build_models_late() -> None:
    from pydantic import BaseModel
    from pydantic.warnings import UnsupportedFieldAttributeWarning

    BaseModel.model_config["defer_build"] = True
    # FastAPI silences it while it makes a route, which now is too early.
    warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
