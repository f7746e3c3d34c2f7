"""Before every route: whose page asks, and for which host, as requests come off a socket."""

import asyncio

import pytest

from tests.programs import require_modules

require_modules("starlette", extra="feedback")

HERE, OURS = "127.0.0.1:8765", "http://127.0.0.1:8765"


def status(headers, method="GET", port=8765, urls=()):
    """What a request with these headers gets; 200 is where the application was reached."""
    from starlette.responses import PlainTextResponse

    from reward_models.feedback.gate import Addresses, Gate

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    gate = Gate(PlainTextResponse("reached"), Addresses.of(port, urls))
    asyncio.run(gate(scope, None, send))
    assert b"content-security-policy" in dict(sent[0]["headers"])
    return sent[0]["status"]


@pytest.mark.parametrize("host", [HERE, "localhost:8765", "LocalHost:8765", "[::1]:8765"])
def test_this_machine_s_own_names_are_served(host):
    assert status([("host", host)]) == 200
    assert status([("host", host), ("origin", f"http://{host}")], "POST") == 200


WRONG_HOSTS = {
    "none": [],
    "ours twice": [HERE, HERE],
    "ours, then another": [HERE, "evil.example:8765"],
    "another, then ours": ["evil.example:8765", HERE],
    "a list": [f"{HERE}, evil.example"],
    "empty": [""],
    "no port": ["127.0.0.1"],
    "no port of IPv6": ["[::1]"],
    "the scheme's port": ["127.0.0.1:80"],
    "another port": ["127.0.0.1:8766"],
    "a port with a nought": ["127.0.0.1:08765"],
    "a port twice": ["127.0.0.1:8765:8765"],
    "IPv6 without brackets": ["::1:8765"],
    "IPv6 of IPv4": ["[::ffff:127.0.0.1]:8765"],
    "the root's dot": ["localhost.:8765"],
    "a name below ours": ["evil.localhost:8765"],
    "ours before another": ["127.0.0.1.evil.example:8765"],
    "ours as a user": ["127.0.0.1:8765@evil.example"],
    "a user": ["evil@127.0.0.1:8765"],
    "a short address": ["127.1:8765"],
    "a number": ["2130706433:8765"],
    "every address": ["0.0.0.0:8765"],
    "a path": ["127.0.0.1:8765/"],
    "letters that look alike": ["l\u00f6calhost:8765"],
}


@pytest.mark.parametrize("hosts", WRONG_HOSTS.values(), ids=WRONG_HOSTS)
def test_no_other_host_is_served_whatever_else_is_right(hosts):
    sent = [("host", host) for host in hosts]
    assert status(sent) == 403
    assert status([*sent, ("origin", OURS)], "POST") == 403


WRONG_ORIGINS = {
    "none": [],
    "ours twice": [OURS, OURS],
    "ours, then another": [OURS, "http://evil.example"],
    "null": ["null"],
    "empty": [""],
    "another scheme": ["https://127.0.0.1:8765"],
    "another port": ["http://127.0.0.1:8766"],
    "no port": ["http://127.0.0.1"],
    "a path": [f"{OURS}/"],
    "ours before another": [f"{OURS}.evil.example"],
    "a file": ["file://"],
}


@pytest.mark.parametrize("origins", WRONG_ORIGINS.values(), ids=WRONG_ORIGINS)
def test_nobody_posts_from_elsewhere_whatever_else_is_right(origins):
    sent = [("host", HERE), *(("origin", origin) for origin in origins)]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert status(sent, method) == 403
    assert status(sent, "GET") == (403 if origins else 200)


def test_a_port_that_a_browser_does_not_name_is_not_waited_for():
    """``--port 80`` refused every browser, and so did an address with ``:443`` behind it."""
    for host in ("127.0.0.1", "localhost", "[::1]"):
        sent = [("host", host), ("origin", f"http://{host}")]
        assert status(sent, "POST", port=80) == 200
        assert status(sent, "POST", port=443) == 403
    named = {"urls": ["https://Label.Example.org:443/", "http://label.example.org:8080"]}
    for host, origin, expected in (
        ("label.example.org", "https://label.example.org", 200),
        ("label.example.org:8080", "http://label.example.org:8080", 200),
        ("label.example.org", "http://label.example.org", 403),
        ("label.example.org:8080", "https://label.example.org:8080", 403),
    ):
        assert status([("host", host), ("origin", origin)], "POST", **named) == expected


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://label.example.org", "https://label.example.org"),
        ("https://label.example.org/", "https://label.example.org"),
        ("HTTPS://Label.Example.ORG:443", "https://label.example.org"),
        ("http://label.example.org:443", "http://label.example.org:443"),
        ("http://192.168.1.5:8765", "http://192.168.1.5:8765"),
        ("http://[FE80::1]:8765", "http://[fe80::1]:8765"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_address_is_known_as_browsers_write_it(url, origin):
    from reward_models.feedback.gate import Addresses, origin_of

    assert origin_of(url) == origin
    assert origin in Addresses.of(1, [url]).origins


@pytest.mark.parametrize(
    "url",
    [
        "label.example.org",
        "ftp://label.example.org",
        "https://label.example.org/path",
        "https://label.example.org?query",
        "https://label.example.org/#fragment",
        "https://me@label.example.org",
        "https://label.example.org:port",
        "https://label.example.org:99999",
        "https://[::1",
        "https://",
        "",
    ],
)
def test_what_is_no_address_of_a_page_is_said(url):
    from reward_models.feedback.gate import Addresses

    with pytest.raises(ValueError, match="no address of a page"):
        Addresses.of(80, [url])
