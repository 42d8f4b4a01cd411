"""MANGO: conversational 3D heads, trained from pictures. Start at train_stage1.py, train_stage2.py and `mango --help`."""

import os

# Before torch starts its threads: waiting threads sleep. By default they spin, and on cores that anything else uses a training step of
# many small operations was measured 10 to 30 times slower (3 to 8 s instead of 0.27 s); an OMP_WAIT_POLICY of the user's own is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
