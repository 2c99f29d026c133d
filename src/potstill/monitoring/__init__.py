"""STILL GOOD? What a server is asked and says, kept: sampled, redacted, for so many days; ready as the next round's data.

Reads what a server tells its hooks; writes one SQLite file. Knows the standard library and numpy alone.
"""
