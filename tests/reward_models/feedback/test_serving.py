"""The server starts where it may, and says in a sentence why it does not."""

import socket

import pytest

from tests.programs import require_modules

require_modules("starlette", "uvicorn", extra="feedback")


@pytest.fixture
def serve():
    """The function, with a study that it must not come to ask for."""
    from reward_models.feedback.serving import serve

    return lambda access, place: serve(None, access, place, pytest.fail)


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
