"""The loop: rows and answers in, a trained student out; and the adapting of a teacher, which is the same loop.

Reads: encoded rows, gold labels, the teacher's answers. Writes: the student's weights (in place), checkpoints in ``scratch``.
"""
