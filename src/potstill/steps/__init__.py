"""The steps of ``pipeline.py``: each hands one stage its section of the recipe and its inputs, through the cache.

Reads: the recipe. Writes: ``stages/`` of the run folder, and what CONTRACT names beside it. Heavy parts are loaded when they
are called, so that a run whose stages are all done loads none of them.
"""
