"""Slow: fine-tuning that sleeps before each step, for the seconds that ``SMILEBENCH_TEST_SLEEP`` names; its results do not depend on it."""

import os
import time

from methods.base import Component


class Slow(Component):
    """Equals fine-tuning."""

    paper = "none"
    neutral = {}

    def before_step(self, step):
        time.sleep(float(os.environ.get("SMILEBENCH_TEST_SLEEP", "0")))
