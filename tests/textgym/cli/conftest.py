"""What holds for every test of the command line."""

import signal

import pytest

_USUAL = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


@pytest.fixture(autouse=True)
def heard():
    """Signals do here what they do at a prompt; nohup, and a shell's ``&``, have them ignored."""
    before = {number: signal.signal(number, usual) for number, usual in _USUAL.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
