"""The sections of docs/benchmarks.md: each draws its figures, a generator of lines."""
