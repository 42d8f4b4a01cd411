"""MANGO: conversational 3D heads, trained from pictures. Start at train_stage1.py, train_stage2.py and `mango --help`."""

import os

# Before torch starts its threads: let a waiting thread spin for microseconds and then sleep. GNU OpenMP's own default spins for
# milliseconds, which on cores that anything else uses made a training step of many small operations 10 to 30 times slower (3 to 8 s instead
# of 0.27 s), and sleeping at once (OMP_WAIT_POLICY=PASSIVE) made it a third slower on free ones. A setting of the user's own is kept.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__version__ = "0.1.0"
