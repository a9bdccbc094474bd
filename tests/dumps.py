"""The real dumps beside the checkout: never committed, so tests that read them skip without them, and fail in CI."""

import gzip
import os
from pathlib import Path

import pytest

from instrument_registry.catalog.brokers.frame import Dump

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def folder() -> Path:
    """The folder of the real dumps."""
    if not FOLDER.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"The real dumps are missing: {FOLDER}")
        pytest.skip(f"The real dumps are not at {FOLDER}")
    return FOLDER


def dump(path: str) -> Dump:
    """One real dump, decompressed."""
    file = folder() / path
    return Dump(name=file.name.removesuffix(".gz"), content=gzip.decompress(file.read_bytes()))
