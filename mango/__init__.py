"""MANGO: conversational 3D heads, trained from pictures. Start at train_stage1.py, train_stage2.py and `mango --help`."""

__version__ = "0.1.0"
