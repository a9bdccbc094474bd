"""An outside judge reads the OpenAPI document and asks everything it can think of: no surprise may come back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.test_serve import Serving, demonstrated

EXAMPLES = 10  # by operation, beside one for every rule in the document
# A request may be well formed and still name a page or an instrument that is not there: that is said with 422.
LEFT_OUT = "positive_data_acceptance"
# One would fetch from the brokers themselves; the answers of three have no end; of one switch (GET and POST) every
# change would be refused from then on.
UNASKED, UNASKED_OPERATIONS = (
    "/ingest$|/events/stream$|/configuration/watch$|/subscriptions/deltas$|/actuator/maintenance$",
    7,
)
# What operators are only refused; it must not be turned on the judge's own key.
OF_ADMINS, ADMIN_OPERATIONS = "/keys|/retention/policies/|/secrets/.+/value$", 7
# What stands for something in the demo universe, so that more than "not found" is seen.
NAMES = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 413, 414, 415, 422, 428, 429, 431, "5xx"]

[parameters]
"path.key" = "NSE:RELIANCE"
"path.broker" = "zerodha"
"path.underlying" = "NIFTY"
"path.exchange" = "NSE"
"path.ingestion" = "1"
"path.job" = "1"
"path.event" = "1"
"path.consumer" = "nobody"
"path.type" = "external.tick"
"path.name" = "InvalidRequest"
"query.identifier" = "NSE:RELIANCE"
"body.target" = "RELIANCE"
"body.exchange" = "NSE"
"body.venue" = "NSE"
"body.cron" = "0 0 1 1 *"
"""


# It asks more often than any caller may: what is judged here is what an answer looks like when it is no 429.
OFTEN = {
    f"INSTRUMENT_REGISTRY_RATE_LIMIT_{kind}_PER_{span}": "100000"
    for kind in ("EXPENSIVE", "WRITE", "READ", "STRANGER")
    for span in ("MINUTE", "SECOND")
}


@pytest.fixture(scope="module")
def instance() -> Iterator[Serving]:
    """An instance with the demo universe, which may be filled with nonsense."""
    with demonstrated(OFTEN) as one:
        yield one


def judged(instance: Serving, folder: Path, *asked: str, key: str, names: str = NAMES) -> dict[str, int]:
    """What the judge found nothing wrong with: how many operations there are and how many it tried."""
    judge = Path(sys.executable).with_name("schemathesis")
    (folder / "schemathesis.toml").write_text(names, encoding="utf-8")
    done = subprocess.run(
        [
            *(judge, "run", f"{instance.url}/openapi.json", "-H", f"X-Internal-API-Key: {key}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-shrink"),
            *("--checks", "all", "--exclude-checks", LEFT_OUT, *asked),
            *("--suppress-health-check", "all", "--warnings", "off", "--continue-on-failure", "--no-color"),
            *("--report", "json", "--report-json-path", folder / "report.json"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert 'verdict="refused"' not in instance.get("/metrics")[1]
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    operations: dict[str, int] = json.loads((folder / "report.json").read_text(encoding="utf-8"))["operations"]
    return operations


@pytest.mark.timeout(900)
def test_no_server_error_and_no_undocumented_answer(instance: Serving, tmp_path: Path) -> None:
    key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()

    operations = judged(instance, tmp_path, "--exclude-path-regex", UNASKED, key=key)

    assert operations["tested"] == operations["total"] - UNASKED_OPERATIONS > 40


@pytest.mark.timeout(600)
def test_what_an_operator_may_not_do_is_judged_with_an_admins_key(instance: Serving, tmp_path: Path) -> None:
    made = [instance.run("keys", "create", "judge", "--scope", scope, "--json").stdout for scope in ("admin", "reader")]
    judge, other = map(json.loads, made)

    operations = judged(
        instance, tmp_path, "--include-path-regex", OF_ADMINS, key=judge["key"],
        names=f'{NAMES}"path.key_id" = "{other["id"]}"\n',
    )  # fmt: skip

    assert operations["tested"] >= ADMIN_OPERATIONS
