"""Speed, memory and evidence. Each module prints a table and writes JSON: ``python -m benchmarks.rasterizer``. Not part of the tests."""
