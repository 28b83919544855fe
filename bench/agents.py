"""The two programs as benchmarks of the agent call them."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../tools/quickstart.d"))
from programs import Agent, Store  # noqa: E402

__all__ = ["Agent", "Store"]
