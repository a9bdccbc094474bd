"""Where a download may not go, in every spelling we know."""

from ipaddress import ip_address, ip_network

import pytest

from instrument_registry.catalog.ingestion.addresses import FetchRefused, check_url
from instrument_registry.outbound.addresses import is_public

HOSTILE = [
    "",
    "nonsense",
    "//example.org/a.csv",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://example.org/a.csv",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/stats",
    "data:text/csv,a",
    "javascript:alert(1)",
    "jar:http://example.org/a.zip!/b",
    "ldap://example.org/",
    "http://",
    "http:///a.csv",
    "http://?a",
    "http://user:secret@example.org/a.csv",
    "http://@example.org/a.csv",
    "http://example.org@127.0.0.1/a.csv",
    "http://127.0.0.1/a.csv",
    "http://127.0.0.1./a.csv",
    "http://127.1/a.csv",
    "http://127.0.1/a.csv",
    "http://2130706433/a.csv",  # 127.0.0.1 as one decimal number
    "http://017700000001/a.csv",  # octal
    "http://0177.0.0.1/a.csv",
    "http://0x7f000001/a.csv",
    "http://0x7f.0.0.1/a.csv",
    "http://0x7F.1/a.csv",
    "http://127.0.0.0x1/a.csv",
    "http://127.0.0.1.0x/a.csv",
    "http://0/a.csv",
    "http://0.0.0.0/a.csv",
    "http://256.1.1.1/a.csv",
    "http://1.2.3.4.5/a.csv",
    "http://10.0.0.1/a.csv",
    "http://172.16.0.1/a.csv",
    "http://192.168.1.1/a.csv",
    "http://100.64.0.1/a.csv",
    "http://100.100.100.200/latest/meta-data",  # a cloud's metadata
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/metadata",  # looks public, is a cloud's own
    "http://192.0.0.192/opc/v1",
    "http://198.18.0.1/a.csv",
    "http://224.0.0.1/a.csv",
    "http://240.0.0.1/a.csv",
    "http://255.255.255.255/a.csv",
    "http://[::1]/a.csv",
    "http://[::]/a.csv",
    "http://[0:0:0:0:0:0:0:1]/a.csv",
    "http://[::ffff:127.0.0.1]/a.csv",
    "http://[::ffff:7f00:1]/a.csv",
    "http://[::ffff:169.254.169.254]/a.csv",
    "http://[::127.0.0.1]/a.csv",
    "http://[::ffff:0:127.0.0.1]/a.csv",
    "http://[64:ff9b::7f00:1]/a.csv",
    "http://[64:ff9b:1::7f00:1]/a.csv",
    "http://[2002:7f00:1::]/a.csv",
    "http://[2001:0:7f00:1::]/a.csv",
    "http://[fe80::1]/a.csv",
    "http://[fe80::1%25eth0]/a.csv",
    "http://[fec0::1]/a.csv",
    "http://[fc00::1]/a.csv",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://[ff02::1]/a.csv",
    "http://[2001:db8::1]/a.csv",
    "http://[::1/a.csv",
    "http://[v1.a]/a.csv",
    "http://exa mple.org/a.csv",
    "http://example.org/a\r\nHost: other",
    "http://example.org\\@127.0.0.1/a.csv",
    "http://127.0.0.1%2f@example.org/a.csv",
    "http://%31%32%37.0.0.1/a.csv",
    "http://①②⑦.⓪.⓪.①/a.csv",
    "http://127。0。0。1/a.csv",
    "http://exаmple.org/a.csv",  # noqa: RUF001  a Cyrillic letter
    "http://-example.org/a.csv",
    "http://example..org/a.csv",
    "http://example.org:99999/a.csv",
    "http://example.org:port/a.csv",
    "http://example.org:0/a.csv",
    "http://example.org:22/a.csv",
    "http://example.org:25/a.csv",
    "https://example.org:445/a.csv",
    "http://example.org/" + "a" * 2_000,
]


@pytest.mark.parametrize("url", HOSTILE, ids=map(str, range(len(HOSTILE))))
def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://api.kite.trade/instruments", "api.kite.trade", 443),
        ("HTTPS://API.Kite.Trade/instruments", "api.kite.trade", 443),
        ("http://example.org./a.csv", "example.org", 80),
        ("https://example.org:8443/a.csv?date=2026-08-17#part", "example.org", 8443),
        ("https://assets.upstox.com/market-quote/instruments/exchange/complete.json.gz", "assets.upstox.com", 443),
        ("https://1.1.1.1/a.csv", "1.1.1.1", 443),
        ("https://[2606:4700:4700::1111]/a.csv", "2606:4700:4700::1111", 443),
        ("https://xn--bcher-kva.example/a.csv", "xn--bcher-kva.example", 443),
    ],
)
def test_a_public_url_is_taken_apart(url: str, host: str, port: int) -> None:
    target = check_url(url)

    assert (target.host, target.port, target.scheme) == (host, port, url.partition(":")[0].lower())


def test_a_listed_network_may_be_asked_on_any_port_and_no_other_may() -> None:
    allowed = (ip_network("127.0.0.0/8"),)

    assert check_url("http://127.0.0.1:81/a.csv", allowed=allowed).port == 81
    with pytest.raises(FetchRefused):
        check_url("http://10.0.0.1/a.csv", allowed=allowed)


@pytest.mark.parametrize("address", ["8.8.8.8", "13.127.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))
