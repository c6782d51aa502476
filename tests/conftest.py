"""What holds for all tests."""

import os

# No test may depend on the network, or wait for it: the hub's client would retry for half a minute.
os.environ["HF_HUB_OFFLINE"] = "1"
