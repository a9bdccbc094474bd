"""What the documents name exists: files and sections they link to, commands, options, settings, targets, sources."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer._click import Context

from instrument_registry.cli.main import COMMANDS, app
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.settings import known_names

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROGRAM = "instrument-registry"
INVENTED = "northstar"  # the broker that add-a-broker.md adds

BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SETTING = re.compile(r"\bINSTRUMENT_REGISTRY_[A-Z_]*[A-Z]\b")
TARGET = re.compile(r"(?:^|[`$] ?)make (?:-\w+ )*([a-z]+)\b", re.MULTILINE)
MENTION = re.compile(rf"`{PROGRAM} ([a-z]+)")
SOURCE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|csv|toml))`")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The sections of a document as links name them."""
    prose = BLOCK.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands_shown(text: str) -> Iterator[list[str]]:
    """The words behind the program's name in each line that shows it being run."""
    for line in text.replace("\\\n", " ").splitlines():
        begun = re.match(rf"\$ (?:\S+=\S+ +)*(?:\S*/)?{PROGRAM} (.+)", line.strip())
        if begun:
            yield shlex.split(begun[1].partition("  #")[0].partition(" | ")[0])


def unknown_of(words: list[str]) -> list[str]:
    """What of a shown command the program does not know: its commands and its options."""
    command = typer.main.get_command(app)
    context = Context(command)
    while words and hasattr(command, "resolve_command"):
        if words[0].startswith("-"):
            break
        if words[0] not in command.list_commands(context):
            return words[:1]
        _, command, words = command.resolve_command(context, words)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [word for word in options if word not in known | {"--help", "-h", "--version"}]


def test_there_are_documents() -> None:
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/glossary.md"} <= set(map(named, DOCUMENTS))


def test_the_readme_says_how_to_start_and_how_to_test() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert re.search(r"^ +make run\b", readme, re.MULTILINE)
    assert re.search(r"^ +make test\b", readme, re.MULTILINE)


def test_every_command_is_listed_in_the_readme_or_a_how_to() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS if "decisions" not in path.parts)

    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
class TestEveryDocument:
    def test_links_lead_to_files_and_sections_that_exist(self, path: Path) -> None:
        broken = []
        for link in LINK.findall(BLOCK.sub("", path.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, section = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not target.exists() or (section and section not in anchors(target)):
                broken.append(link)

        assert broken == []

    def test_commands_and_their_options_are_known(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        mentioned = [name for name in MENTION.findall(text) if name not in COMMANDS]
        shown = [(words, unknown) for words in commands_shown(text) if (unknown := unknown_of(list(words)))]

        assert (mentioned, shown) == ([], [])

    def test_settings_are_known(self, path: Path) -> None:
        assert set(SETTING.findall(path.read_text(encoding="utf-8"))) <= known_names() | {
            one.environment_name for one in PARAMETERS.values()
        }

    def test_make_targets_exist(self, path: Path) -> None:
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

        assert set(TARGET.findall(path.read_text(encoding="utf-8"))) <= targets

    def test_sources_exist(self, path: Path) -> None:
        files = [str(file) for top in ("src", "tests", "bench", "migrations") for file in (ROOT / top).rglob("*.*")]
        files += [str(file) for file in ROOT.glob("*.*")]
        named_here = SOURCE.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
        missing = [name for name in named_here if not any(file.endswith(f"/{name}") for file in files)]

        assert [name for name in missing if INVENTED not in name] == []
