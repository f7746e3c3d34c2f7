"""What holds for every test: nothing is asked of a hub, and no example has to be quick.

And a browser, for those that look at pages.
"""

import gc
import os
import shutil

import pytest
from hypothesis import settings

from tests.programs import require

# Read once, when the hub's library is imported, so it has to be here and not in a fixture.
os.environ["HF_HUB_OFFLINE"] = "1"

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# What is imported stays for good; looking through it for garbage takes a fifth of the collection.
gc.disable()


def pytest_addoption(parser):
    parser.addoption(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="run each test of tests/learning/ that takes a seed with the seeds 0 to N - 1",
    )


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = require(next(filter(None, map(shutil.which, names)), None), "apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
