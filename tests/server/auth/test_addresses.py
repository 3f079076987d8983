"""From which address a request comes."""

from ipaddress import ip_network

import pytest
from starlette.requests import HTTPConnection

from outlast.server.auth.addresses import UNKNOWN, client_address, subscriber

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def asked(peer, *forwarded):
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return HTTPConnection({"type": "http", "headers": headers, "client": (peer, 1234) if peer else None})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", ["198.51.100.1"], "127.0.0.1"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", ["1.2.3.4, 198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.1.1.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.1.1.1", ["198.51.100.1, nonsense"], "10.1.1.1"),
        ("::ffff:10.1.1.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", ["::ffff:198.51.100.1"], "198.51.100.1"),
    ],
)
def test_only_proxies_that_are_listed_are_believed(peer, forwarded, address):
    assert client_address(asked(peer, *forwarded), PROXIES) == address


def test_without_a_list_nobody_is_believed():
    assert client_address(asked("10.1.1.1", "198.51.100.1"), ()) == "10.1.1.1"


def test_a_call_without_a_socket_has_no_address():
    assert client_address(asked(None, "198.51.100.1"), PROXIES) == UNKNOWN
    assert client_address(asked("testclient"), PROXIES) == UNKNOWN


def test_all_addresses_of_one_subscriber_are_one():
    assert subscriber("2001:db8::1") == subscriber("2001:db8::ffff:1") != subscriber("2001:db8:0:1::1")
    assert subscriber("198.51.100.1") == "198.51.100.1"
    assert subscriber(UNKNOWN) == UNKNOWN
