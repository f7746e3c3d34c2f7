"""What holds for every test: nothing is asked of a hub."""

import os

# Read once, when the hub's library is imported, so it has to be here and not in a fixture.
os.environ["HF_HUB_OFFLINE"] = "1"
