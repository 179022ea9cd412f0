"""Imports what training needs into a new worker. Ray imports this file when it starts one: importing it is its work.

What modules make while they load stays: looking for garbage meanwhile would take a fifth of the time. Nor is it looked
for there later.
"""

import gc
from importlib import import_module

from job.cluster.worker_parent import MODULES

gc.disable()
for name in MODULES:
    import_module(name)
gc.freeze()
gc.enable()
