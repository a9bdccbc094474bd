"""`audit` against one running instance: found, proved, exported, verified; and changed by whoever owns the tables."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from journeys.test_cli_reading import refused, said
from journeys.test_serve import Serving


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """An empty instance with its worker."""
    folder = tmp_path_factory.mktemp("audit")
    for one in (folder, *folder.parents[:2]):  # as root the server runs as nobody, who has to pass
        one.chmod(0o711)
    serving = Serving(folder / "data", workers=1).start()
    yield serving
    serving.process.terminate()
    serving.process.wait(30)


def test_what_a_command_does_is_found_proved_exported_and_verified(instance: Serving, tmp_path: Path) -> None:
    made = json.loads(said(instance, "keys", "create", "somebody", "--json"))
    note = said(instance, "audit", "checkpoint", "--now")
    page = json.loads(said(instance, "audit", "search", "--subject", made["id"], "--json"))
    table = said(instance, "audit", "search", "--action", "api_key.created").splitlines()
    (record,) = page["records"]
    proof = json.loads(said(instance, "audit", "prove", str(record["position"]), "--json"))
    file = tmp_path / "audit.csv"
    said(instance, "audit", "export", str(file))
    lines = said(instance, "audit", "export", "--subject", made["id"]).splitlines()
    verdict = json.loads(said(instance, "audit", "verify", "--json"))

    assert (record["action"], record["new"]["name"]) == ("api_key.created", "somebody")
    assert table[0].split()[:4] == ["position", "at", "actor", "action"]
    assert proof["position"] == record["position"] <= int(note.splitlines()[1]) <= proof["checkpoint"]["size"]
    assert file.read_text().startswith("position,at,action,")
    assert [json.loads(line)["record"]["subject"] for line in lines] == [made["id"]]
    assert verdict["covered"] >= record["position"]
    assert verdict["outside"] >= 1
    assert note == said(instance, "audit", "checkpoint") or verdict["records"] > int(note.splitlines()[1])


def test_a_key_is_bound_to_users_and_to_nobody_again_with_a_reason_in_the_audit(instance: Serving) -> None:
    key = json.loads(said(instance, "keys", "create", "terminal", "--json"))["id"]
    told = said(instance, "keys", "bind", key, "asha", "ravi", "--reason", "their terminal")
    listed = [one for one in json.loads(said(instance, "keys", "list", "--json"))["keys"] if one["id"] == key]
    freed = json.loads(said(instance, "keys", "bind", key, "--reason", "theirs no longer", "--json"))
    records = json.loads(said(instance, "audit", "search", "--subject", key, "--json"))["records"]
    silent = refused(instance, "keys", "bind", key, "asha", "--reason", " ", code=2)

    assert told.strip() == f"{key} (terminal) touches the profiles of asha, ravi."
    assert (listed[0]["users"], freed["users"]) == (["asha", "ravi"], [])
    assert sorted(one["reason"] for one in records if one["action"] == "api_key.bound") == [
        "their terminal", "theirs no longer",
    ]  # fmt: skip
    assert "Say why" in silent


def test_what_is_changed_behind_its_back_is_named(instance: Serving, tmp_path: Path) -> None:
    said(instance, "keys", "create", "somebody-else", "--json")
    said(instance, "audit", "checkpoint", "--now")
    kept = tmp_path / "checkpoints.log"
    kept.write_bytes((instance.data_dir / "audit" / "checkpoints.log").read_bytes())
    keys = tmp_path / "audit.pub"
    keys.write_bytes((instance.data_dir / "audit.pub").read_bytes())
    owner = json.loads((instance.data_dir / "run.json").read_text())["owner_database_url"]

    def verify() -> str:
        return refused(instance, "audit", "verify", "--keys", str(keys), "--checkpoints", str(kept), code=3)

    with psycopg.connect(owner) as connection:
        connection.execute("set search_path = instrument_registry")
        connection.execute("create table kept as select * from audit_records")
        connection.execute(
            "update audit_records set actor = 'nobody' where number = (select min(number) from audit_leaves)"
        )
    changed = verify()
    with psycopg.connect(owner) as connection:
        connection.execute("set search_path = instrument_registry")
        connection.execute("update audit_records r set actor = k.actor from kept k where k.number = r.number")
        connection.execute("delete from audit_checkpoints where size = (select max(size) from audit_checkpoints)")
        connection.execute("delete from audit_leaves where position = (select max(position) from audit_leaves)")
    cut = verify()

    assert changed == "The audit has been changed: Record 1 shows actor nobody where its text says start"
    assert "is missing with all behind it" in cut


@pytest.mark.parametrize("option", ["--checkpoints", "--keys"])
def test_a_file_that_is_not_there_is_wrong_usage(instance: Serving, option: str) -> None:
    assert "nowhere" in refused(instance, "audit", "verify", option, "nowhere", code=2)
