"""The fake program, whose import takes a minute when ``SMILEBENCH_TEST_IMPORT`` names a file that can be made: it is made first."""

import os
import time
from pathlib import Path

from tests.sweep.fake import load, preflight, train

__all__ = ["load", "preflight", "train"]

if name := os.environ.get("SMILEBENCH_TEST_IMPORT"):
    Path(name).touch()
    time.sleep(60)
