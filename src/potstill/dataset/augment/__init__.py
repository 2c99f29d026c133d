"""More texts to ask the teacher about, made of those that students learn from: words replaced, or spans left out.

Reads: rows of train and the pool, never others. Writes: ``augmented.jsonl``, every text that was made and what became of it. Gold is
never inherited: a changed text may be of another class, so the teacher is asked.
"""
