"""The package `eventsourcing` judges the fact log by the test cases it has for recorders of its own."""

import unittest
from collections.abc import Callable

import pytest
from eventsourcing.tests import persistence

from conftest import DatabaseUrls
from recorders import Aggregates, Applications, Loop, Processes, Trackings

Recorder = Callable[[Loop], object]
JUDGES: list[tuple[type[unittest.TestCase], Recorder]] = [
    (persistence.AggregateRecorderTestCase, Aggregates),
    (persistence.ApplicationRecorderTestCase, Applications),
    (persistence.TrackingRecorderTestCase, Trackings),
    (persistence.ProcessRecorderTestCase, Processes),
    (persistence.NonInterleavingNotificationIDsBaseCase, Applications),
]
CASES = [
    pytest.param(judge, recorder, name, id=f"{judge.__name__}.{name}")
    for judge, recorder in JUDGES
    for name in dir(judge)
    if name.startswith(("test", "optional_test"))
]


def test_every_judge_has_cases() -> None:
    assert len(CASES) >= 14


@pytest.mark.parametrize(("judge", "recorder", "name"), CASES)
def test_finds_nothing_wrong(
    database_urls: DatabaseUrls, judge: type[unittest.TestCase], recorder: Recorder, name: str
) -> None:
    loop = Loop(database_urls.service)
    case = type("Case", (judge,), {"create_recorder": lambda self: recorder(loop)})(name)
    result = unittest.TestResult()

    case.run(result)
    loop.close()

    assert [trace for _, trace in (*result.errors, *result.failures)] == []
    assert (result.testsRun, result.skipped) == (1, [])
