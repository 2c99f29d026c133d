"""The door: one verb is one call of a function of ours, found through ``lookup``, so that asking for help loads nothing heavy.

Data goes to standard output, words to standard error. Errors become one line and an exit code in ``main`` and nowhere else.
"""
