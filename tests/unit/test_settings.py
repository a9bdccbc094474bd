"""Settings: from the environment, secrets also from files, misspelt names refused by name."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from instrument_registry.settings import PREFIX, InvalidSettings, Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


class TestSettings:
    def test_defaults_are_the_documented_ones(self) -> None:
        settings = Settings.load()

        assert (settings.host, settings.port, settings.workers, settings.demo) == ("127.0.0.1", 8901, 2, True)
        assert settings.data_dir == Path(".data").absolute()
        assert settings.database_url is None

    def test_the_environment_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_DEMO", "off")
        monkeypatch.setenv("INSTRUMENT_REGISTRY_PORT", "0")
        monkeypatch.setenv("INSTRUMENT_REGISTRY_DATA_DIR", "/var/tmp/x")

        settings = Settings.load()

        assert (settings.demo, settings.port, settings.data_dir) == (False, 0, Path("/var/tmp/x"))

    def test_what_the_caller_gives_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_WORKERS", "3")

        assert Settings.load(workers=5, port=None).workers == 5

    def test_they_do_not_change(self) -> None:
        with pytest.raises(ValidationError):
            Settings.load().port = 1  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("name", "value"), [("PORT", "many"), ("PORT", "70000"), ("WORKERS", "0"), ("DEMO", "perhaps")]
    )
    def test_a_wrong_value_is_refused_by_name(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(PREFIX + name, value)

        with pytest.raises(InvalidSettings, match=PREFIX + name):
            Settings.load()

    def test_networks_are_divided_by_commas_and_none_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        none = Settings.load().fetch_networks
        monkeypatch.setenv("INSTRUMENT_REGISTRY_FETCH_NETWORKS", "10.1.2.3/32, fd00:7::/48,")

        assert none == ()
        assert Settings.load().fetch_networks == (ip_network("10.1.2.3/32"), ip_network("fd00:7::/48"))

    @pytest.mark.parametrize("value", ["mirror.example", "10.1.2.3/8", "10.1.2.0/24;10.1.3.0/24", "*"])
    def test_what_is_no_network_is_refused_by_name(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_FETCH_NETWORKS", value)

        with pytest.raises(InvalidSettings, match=r"INSTRUMENT_REGISTRY_FETCH_NETWORKS.*is no network"):
            Settings.load()

    def test_a_misspelt_name_is_refused_with_the_right_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_DATABSE_URL", "postgresql://x")

        with pytest.raises(InvalidSettings, match="did you mean INSTRUMENT_REGISTRY_DATABASE_URL"):
            Settings.load()

    def test_a_name_of_somebody_else_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_COLOUR_OF_THE_DOOR", "green")

        Settings.load()


class TestSecrets:
    def test_are_read_from_a_file_and_not_shown(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("postgresql://u:very-secret@h/d\n")
        monkeypatch.setenv("INSTRUMENT_REGISTRY_DATABASE_URL_FILE", str(tmp_path / "url"))

        settings = Settings.load()

        assert settings.database_url is not None
        assert settings.database_url.get_secret_value() == "postgresql://u:very-secret@h/d"
        assert "very-secret" not in repr(settings)

    def test_both_ways_at_once_are_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_DATABASE_URL_FILE", str(tmp_path / "url"))
        monkeypatch.setenv("INSTRUMENT_REGISTRY_DATABASE_URL", "postgresql://x")

        with pytest.raises(InvalidSettings, match="keep one"):
            Settings.load()

    def test_a_missing_file_is_said(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_OWNER_DATABASE_URL_FILE", str(tmp_path / "none"))

        with pytest.raises(InvalidSettings, match="OWNER_DATABASE_URL_FILE cannot be read"):
            Settings.load()


class TestTheBroker:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://127.0.0.1:6380/3",
            "rediss://u:p@redis.example/0?ssl_ca_certs=/ca.pem",
            "redis+sentinel://a:1,b:2/main",
        ],
    )
    def test_is_given_as_an_address_or_by_sentinels(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_EVENT_BROKER_URL", url)

        broker = Settings.load().event_broker_url

        assert broker is not None
        assert broker.get_secret_value() == url
        assert url not in repr(Settings.load())

    def test_is_none_when_empty_or_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Settings.load().event_broker_url is None
        monkeypatch.setenv("INSTRUMENT_REGISTRY_EVENT_BROKER_URL", "")
        assert Settings.load().event_broker_url is None

    def test_is_read_from_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("redis://:sesame@127.0.0.1/1\n")
        monkeypatch.setenv("INSTRUMENT_REGISTRY_EVENT_BROKER_URL_FILE", str(tmp_path / "url"))

        broker = Settings.load().event_broker_url

        assert broker is not None
        assert broker.get_secret_value() == "redis://:sesame@127.0.0.1/1"

    @pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://sesame@x", "redis://", "redis://u:sesame@"])
    def test_that_cannot_be_understood_is_refused_without_showing_it(
        self, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_EVENT_BROKER_URL", url)

        with pytest.raises(InvalidSettings, match="EVENT_BROKER_URL") as refused:
            Settings.load()

        assert "sesame" not in str(refused.value)
