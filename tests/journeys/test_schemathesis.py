"""An outside judge reads the OpenAPI document and asks everything it can think of: no surprise may come back."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from journeys.test_serve import Serving, eventually

EXAMPLES = 10  # by operation, beside one for every rule in the document
# A request may be well formed and still name a page or an instrument that is not there: that is said with 422.
LEFT_OUT = "positive_data_acceptance"
# One would fetch from the brokers themselves; the answers of two (GET and POST) have no end.
UNASKED, UNASKED_OPERATIONS = "/ingest$|/events/stream$", 3
# What stands for something in the demo universe, so that more than "not found" is seen.
NAMES = """
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


@pytest.fixture(scope="module")
def instance() -> Iterator[Serving]:
    """An instance with the demo universe, which may be filled with nonsense."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-judged-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as nobody, who has to pass
        one = Serving(folder / "data", workers=1)
        one.environment["INSTRUMENT_REGISTRY_DEMO"] = "on"
        try:
            one.start()
            loaded = lambda: '"loaded, as of' in one.get("/health/ready")[1]  # noqa: E731
            eventually(loaded, within_seconds=120, otherwise=one.words)
            yield one
        finally:
            one.process.terminate()
            with contextlib.suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                one.process.wait(30)


@pytest.mark.serial
@pytest.mark.timeout(600)
def test_no_server_error_and_no_undocumented_answer(instance: Serving, tmp_path: Path) -> None:
    key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
    judge = Path(sys.executable).with_name("schemathesis")
    (tmp_path / "schemathesis.toml").write_text(NAMES, encoding="utf-8")
    judged = subprocess.run(
        [
            *(judge, "run", f"{instance.url}/openapi.json", "-H", f"X-Internal-API-Key: {key}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-shrink"),
            *("--checks", "all", "--exclude-checks", LEFT_OUT, "--exclude-path-regex", UNASKED),
            *("--suppress-health-check", "all", "--warnings", "off", "--continue-on-failure", "--no-color"),
            *("--report", "json", "--report-json-path", tmp_path / "report.json"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=580,
    )

    assert judged.returncode == 0, judged.stdout[-20_000:] + judged.stderr[-2_000:]
    operations = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["operations"]
    assert operations["tested"] == operations["total"] - UNASKED_OPERATIONS > 40
