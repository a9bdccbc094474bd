"""TLS out of files: what cannot be used is said in one sentence, and callers trust whom they were told to."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import Pair, authority, issued, self_signed
from instrument_registry.outbound.trust import NotTrusted, pinned, trusting
from instrument_registry.processes.tls import as_certified, tls_of
from instrument_registry.settings import InvalidSettings, Settings


def context_of(pair: Pair) -> ssl.SSLContext:
    factory = tls_of(Settings(tls_certificate=pair.certificate, tls_key=pair.key))
    assert factory is not None
    return factory(None, None)


def refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(InvalidSettings) as refused:
        tls_of(Settings(tls_certificate=certificate, tls_key=key))
    return str(refused.value)


async def shakes(server: ssl.SSLContext, caller: ssl.SSLContext, *, name: str) -> str | None:
    """The version two sides agree on; none when the caller does not believe what it is shown."""
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=caller, server_hostname=name)
    except (ssl.SSLError, ConnectionError):
        return None
    else:
        version: str = writer.get_extra_info("ssl_object").version()
        writer.close()
        return version
    finally:
        listening.close()


class TestFiles:
    def test_nothing_named_is_no_tls(self) -> None:
        assert tls_of(Settings()) is None

    def test_what_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        one, other = self_signed(tmp_path / "one", "a.example"), self_signed(tmp_path / "other", "a.example")
        locked = self_signed(tmp_path / "locked", "a.example", password=b"x")
        nonsense = tmp_path / "nonsense.pem"
        nonsense.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")

        words = [
            refusal(tmp_path / "none.pem", one.key),
            refusal(one.certificate, tmp_path),
            refusal(one.certificate, other.key),
            refusal(locked.certificate, locked.key),
            refusal(nonsense, one.key),
        ]

        assert all("\n" not in text and "INSTRUMENT_REGISTRY_TLS_" in text for text in words)
        for text, expected in zip(
            words, ("none.pem cannot be read: No such file", "cannot be read: Is a directory",
                    "is not the key of the certificate", "protected by a password", "are not a certificate"),
            strict=True,
        ):  # fmt: skip
            assert expected in text

    @pytest.mark.parametrize("half", ["TLS_CERTIFICATE", "TLS_KEY"])
    def test_one_half_alone_is_refused(self, half: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv(f"INSTRUMENT_REGISTRY_{half}", str(tmp_path / "x.pem"))

        with pytest.raises(InvalidSettings, match="is missing: TLS needs a certificate and its key"):
            Settings.load()


class TestTrust:
    @pytest.mark.parametrize(
        ("limit", "expected"),
        [(None, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_1, None)],
    )
    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
    async def test_only_modern_versions_are_spoken(
        self, tmp_path: Path, limit: ssl.TLSVersion | None, expected: str | None
    ) -> None:
        pair = self_signed(tmp_path, "a.example")
        caller = ssl.create_default_context(cafile=pair.certificate)
        if limit is not None:
            caller.set_ciphers("ALL:@SECLEVEL=0")
            caller.minimum_version = ssl.TLSVersion.TLSv1
            caller.maximum_version = limit

        assert await shakes(context_of(pair), caller, name="a.example") == expected

    async def test_a_file_of_authorities_is_trusted_alone_and_names_are_compared(self, tmp_path: Path) -> None:
        ca = authority(tmp_path / "ca")
        pair, stranger = issued(ca, tmp_path / "one", "a.example"), self_signed(tmp_path / "two", "a.example")
        caller = trusting(ca.certificate)

        shown = [await shakes(context_of(one), caller, name="a.example") for one in (pair, stranger)]
        other_name = await shakes(context_of(pair), caller, name="b.example")

        assert (shown, other_name) == (["TLSv1.3", None], None)

    async def test_who_pins_a_certificate_believes_no_other_of_the_same_authority(self, tmp_path: Path) -> None:
        ca = authority(tmp_path / "ca")
        one, other = issued(ca, tmp_path / "one", "a.example"), issued(ca, tmp_path / "other", "a.example")
        caller = pinned(one.certificate)

        shown = [await shakes(context_of(pair), caller, name="127.0.0.1") for pair in (one, other)]

        assert shown == ["TLSv1.3", None]

    @pytest.mark.parametrize("how", [trusting, pinned])
    def test_files_without_certificates_are_named(self, tmp_path: Path, how: Callable[[Path], ssl.SSLContext]) -> None:
        (tmp_path / "nonsense.pem").write_text("nothing", encoding="ascii")

        for name in ("none.pem", "nonsense.pem"):
            with pytest.raises(NotTrusted, match=name):
                how(tmp_path / name)


class TestGreeting:
    def test_curl_is_told_what_it_needs_to_believe_the_certificate(self, tmp_path: Path) -> None:
        named, ca = self_signed(tmp_path / "one", "a.example"), authority(tmp_path / "ca")
        official, local = (
            issued(ca, tmp_path / "two", "*.example", "b.example"),
            self_signed(tmp_path / "3", "127.0.0.1"),
        )
        url = "https://127.0.0.1:8901"

        assert as_certified(url, named.certificate) == (
            "https://a.example:8901", f"--cacert {named.certificate} --resolve a.example:8901:127.0.0.1 "
        )  # fmt: skip
        assert as_certified(url, official.certificate) == (
            "https://b.example:8901", "--resolve b.example:8901:127.0.0.1 "
        )  # fmt: skip
        assert as_certified(url, local.certificate) == (url, f"--cacert {local.certificate} ")
