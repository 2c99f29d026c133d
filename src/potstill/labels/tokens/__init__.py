"""What a language model said of each position of a text, kept small: one binary value an example, for the label store's shards.

Three ways, each a file: ``sparse`` (the likeliest tokens and the mass of the rest), ``sampled`` (drawn tokens with weights, unbiased),
``hidden`` (the last states, to be put through the teacher's head). ``choose`` measures all three on a probe, in bytes and in error. Below
them: ``select`` takes the top of a distribution, ``levels`` rounds log-probabilities, ``numbers`` splits integers into a symbol and plain
bits, ``codebook`` holds what is fitted once (tokens by frequency, tables of symbols), ``rans`` codes symbols in lanes that numpy decodes side
by side, ``positions`` lays rows out as such symbols, ``frame`` puts a header and a check around it all.

A value stands alone: any example is decoded without another, and many at once for less each. Numpy alone; no torch.
"""

from __future__ import annotations

from .choose import choose
from .codebook import Codebook
from .fit import fit
from .levels import Levels
from .select import Keep, Top, given, select

__all__ = ["Codebook", "Keep", "Levels", "Top", "choose", "fit", "given", "select"]
