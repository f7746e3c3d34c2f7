"""What holds for every test: nothing is asked of a hub, and no example has to be quick."""

import gc
import os

from hypothesis import settings

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
