"""The server starts where it may, and says in a sentence why it does not."""

import contextlib
import http.client
import queue
import socket
import threading
from urllib.parse import urlsplit

import pytest

from tests.programs import require_modules

require_modules("starlette", "uvicorn", extra="feedback")


def has_ipv6():
    """Whether this machine has the loopback of IPv6, which a container may lack."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as trial:
        trial.bind(("::1", 0))
        return True
    return False


WITH_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def serve():
    """The function, with a study that it must not come to ask for."""
    from reward_models.feedback.serving import serve

    return lambda access, place: serve(None, access, place, pytest.fail)


@pytest.fixture
def serving(monkeypatch):
    """Serves in a thread; gives the link that is printed, and where the server listens."""
    from reward_models.feedback import serving
    from reward_models.feedback.access import Access
    from reward_models.feedback.application import Study

    started, links = queue.Queue(), queue.Queue()

    class Kept(serving._Server):
        def run(self, sockets):
            started.put((self, *sockets[0].getsockname()[:2]))
            super().run(sockets)

    monkeypatch.setattr(serving, "_Server", Kept)

    @contextlib.contextmanager
    def serve(host, urls):
        study = Study(store=None, handout=None, rubric="")
        place = serving.Place(host=host, port=0, urls=urls)
        given = (study, Access("o" * 43, {}), place, links.put)
        thread = threading.Thread(target=serving.serve, args=given)
        thread.start()
        server, address, port = started.get(timeout=60)
        try:
            yield links.get(timeout=60), address, port
        finally:
            server.should_exit = True
            thread.join()

    return serve


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - refused
def test_nothing_is_served_without_a_token(serve, host):
    from reward_models.feedback.serving import Place, ServingError

    with pytest.raises(ServingError, match="needs a token"):
        serve(None, Place(host=host, urls=["http://label.example.org"]))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])  # noqa: S104
def test_another_address_needs_a_name_by_which_it_is_reached(serve, host):
    from reward_models.feedback.access import Access
    from reward_models.feedback.serving import Place, ServingError

    with pytest.raises(ServingError, match="lets other machines in"):
        serve(Access("o" * 43, {}), Place(host=host))


def test_a_port_that_is_taken_is_said(serve):
    from reward_models.feedback.access import Access
    from reward_models.feedback.serving import Place, ServingError

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServingError, match=r"cannot be listened on .* free one by --port"):
            serve(Access("o" * 43, {}), Place(port=other.getsockname()[1]))


def test_by_default_this_machine_alone_is_served():
    from reward_models.feedback.serving import Place

    assert Place().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "urls", "link"),
    [
        ("127.0.0.1", [], "http://127.0.0.1:"),
        ("localhost", [], "http://127.0.0.1:"),
        ("127.0.0.2", [], "http://127.0.0.2:"),
        pytest.param("::1", [], "http://[::1]:", marks=WITH_IPV6),
        ("127.0.0.1", ["https://label.example.org/"], "https://label.example.org"),
    ],
)
def test_the_link_that_is_printed_leads_to_the_page(serving, host, urls, link):
    """Of IPv6, and of another address of this machine, 127.0.0.1 was printed, where nobody is."""
    with serving(host, urls) as (said, address, port):
        assert said == (f"{link}{port}" if link.endswith(":") else link)
        connection = http.client.HTTPConnection(address, port, timeout=60)
        name = urlsplit(said).netloc
        for shown, expected in ((name, 200), (name.upper(), 200), (f"{name}.", 403)):
            connection.putrequest("GET", "/", skip_host=True)
            connection.putheader("Host", shown)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            assert answer.status == expected, shown
        connection.putrequest("GET", "/", skip_host=True)
        for _ in range(2):
            connection.putheader("Host", name)
        connection.endheaders()
        assert connection.getresponse().status in (400, 403)
        connection.close()
