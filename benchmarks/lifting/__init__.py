"""Do pictures teach the motion what the tracker got wrong? Synthetic truth, spoilt labels, every control: ``python -m benchmarks.lifting``.

scales.py    the frozen data, and sizes         rows.py      what is compared, and what starts from what
training.py  how each kind of row is trained    controls.py  pictures that tell the wrong story
refit.py     labels refitted frame by frame     scoring.py   numbers against the truth, clip by clip
digests.py   when a row may be used again       report.py    table and verdicts
sweeps.py    the recipe on other data           figures.py   pictures and tables for docs/lifting.md
running.py   rows in processes of their own
"""
