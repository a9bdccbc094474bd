"""The published schemas of facts are what the code writes; `python tests/house/test_event_schemas.py` writes them."""

import importlib
import importlib.util
import json
import pkgutil
from pathlib import Path

import jsonschema_rs
import pytest

import instrument_registry
from instrument_registry.events import Fact, schemas

ROOM_OF_EVENTS = "instrument_registry.events"  # which is no module of facts
FOLDER = Path(__file__).parents[2] / "schemas" / "events"


def told() -> list[type[Fact]]:
    """Every fact of every room's `events.py`; one from which others inherit is no fact itself."""
    kinds: dict[str, type[Fact]] = {}
    for room in pkgutil.walk_packages(instrument_registry.__path__, "instrument_registry."):
        name = f"{room.name}.events"
        if not room.ispkg or name == ROOM_OF_EVENTS or importlib.util.find_spec(name) is None:
            continue
        own = [kind for kind in vars(importlib.import_module(name)).values() if _told_by(kind, name)]
        for kind in own:
            if any(kind in other.__bases__ for other in own):
                continue
            file = schemas.file_name(kind)
            assert kinds.setdefault(file, kind) is kind, f"two facts are called {kind.type} version {kind.version}"
    return list(kinds.values())


def _told_by(kind: object, module: str) -> bool:
    return isinstance(kind, type) and issubclass(kind, Fact) and kind.__module__ == module


class TestEventSchemas:
    def test_are_published_for_every_fact_and_for_nothing_else(self) -> None:
        assert sorted(path.name for path in FOLDER.glob("*.json")) == sorted(map(schemas.file_name, told()))

    @pytest.mark.parametrize("kind", told(), ids=lambda kind: kind.type)
    def test_say_what_the_code_writes(self, kind: type[Fact]) -> None:
        text = (FOLDER / schemas.file_name(kind)).read_text(encoding="utf-8")

        assert text == schemas.published(kind), "run: python tests/house/test_event_schemas.py, and read the diff"
        jsonschema_rs.meta.validate(json.loads(text))


def publish() -> None:
    """Write every schema, and take away those of facts that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = {schemas.file_name(kind): schemas.published(kind) for kind in told()}
    for path in FOLDER.glob("*.json"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    publish()
