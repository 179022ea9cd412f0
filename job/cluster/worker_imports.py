"""Imports what training needs into a new worker. Ray imports this file when it starts one: importing it is its work.

What modules make while they load stays: looking for garbage meanwhile would take a fifth of the time. Nor is it looked
for there later.
"""

import gc
from importlib import import_module
from typing import Final

MODULES: Final = ("ray.data", "job.train.steps", "job.train.commit")

gc.disable()
for name in MODULES:
    import_module(name)
gc.freeze()
gc.enable()
