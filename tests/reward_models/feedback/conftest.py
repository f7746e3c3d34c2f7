"""Studies that a browser looks at."""

import pytest

from tests import browsing


@pytest.fixture
def site(browser, tmp_path):
    """Makes a site of these texts; at the end, no page may have failed or run anything."""
    made = []

    class Kept:
        def __init__(self, *given, **config):
            self.opened = browsing.served(browser, tmp_path / "votes.sqlite", *given, **config)

        def __enter__(self):
            made.append(self.opened.__enter__())
            return made[-1]

        def __exit__(self, *exception):
            return self.opened.__exit__(*exception)

    yield Kept
    assert [wrong for each in made for wrong in each.wrong] == []
