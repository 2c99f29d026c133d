"""How good: quality, fidelity, calibration, slices, and the verdict with its statistics.

Reads: gold answers and log-probabilities, row by row. Gives plain records; nothing here trains, exports or chooses by test rows.
"""
