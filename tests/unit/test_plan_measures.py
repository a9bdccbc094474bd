"""What is measured of plans: as many labels as the largest accounts, however many accounts there are."""

from instrument_registry.subscriptions.capacity.measures import ACCOUNTS_MAX
from instrument_registry.subscriptions.plans.measures import use_of


def of(account: str, connection: str, carries: int, most: int) -> dict[str, object]:
    return {"account": account, "connection": connection, "carries": carries, "most": most}


def test_a_connection_says_how_full_it_is_and_one_without_a_bound_says_nothing() -> None:
    assert use_of([of("a", "a/1", 30, 40), of("a", "a/2", 7, 0)]) == {("a", "a/1"): 0.75}


def test_accounts_beyond_a_bound_speak_by_the_fullest_of_their_connections() -> None:
    large = [of(f"large {number}", "1", 900, 1000) for number in range(ACCOUNTS_MAX)]
    small = [of("small", "1", 5, 10), of("smaller", "1", 3, 4)]
    found = use_of([*small, *large])

    assert len(found) == ACCOUNTS_MAX + 1
    assert found["other", "fullest"] == 0.75
