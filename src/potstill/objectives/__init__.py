"""How a student learns: terms of the training loss as pure functions of flat arrays, (units, width), in float32.

Reads: a student's output, the teacher's answers, gold labels. Gives (sum, count), never a mean: what is divided by what is the
loop's business alone, so that micro-batches, packing and several processes change nothing.
"""
