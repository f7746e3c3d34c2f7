"""What a command asks of the process that it runs in."""

import sys

import pytest

from textgym.cli.console import keep_large_blocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_the_allocator_takes_the_setting():
    assert keep_large_blocks() is True
