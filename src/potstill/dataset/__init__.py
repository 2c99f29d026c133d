"""About what: the user's files become rows that are read, cleaned, split, cleared of leaks and sealed.

Reads: JSONL, CSV, TSV, Parquet, Arrow. Writes: one JSONL a split, ``dropped.jsonl``, ``duplicates.jsonl``, ``card.json``.
"""
