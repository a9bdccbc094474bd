"""Migration files: numbered without a gap, each saying its half, each following the one before."""

import ast

from instrument_registry.database import migrations


def test_every_file_has_a_number_and_a_half() -> None:
    files = sorted(path.name for path in (migrations.folder() / "versions").glob("*.py"))

    assert [name for name in files if not migrations.FILE_NAME.fullmatch(name)] == []
    assert [step.number for step in migrations.revisions()] == [f"{n:04}" for n in range(1, len(files) + 1)]


def test_each_follows_the_one_before() -> None:
    before = None
    for step in migrations.revisions():
        path = migrations.folder() / "versions" / f"{step.number}_{step.half}_{step.name}.py"
        said = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and "revision" in node.targets[0].id
        }

        assert said == {"revision": step.number, "down_revision": before}
        before = step.number
