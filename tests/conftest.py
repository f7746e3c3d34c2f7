"""What holds for every test: nothing is asked of a hub."""

import gc
import os

# Read once, when the hub's library is imported, so it has to be here and not in a fixture.
os.environ["HF_HUB_OFFLINE"] = "1"

# What is imported stays for good; looking through it for garbage takes a fifth of the collection.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
