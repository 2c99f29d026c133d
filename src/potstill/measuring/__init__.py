"""How fast, how big: the teacher as it runs today and the artifact that would ship, side by side.

Reads: subjects ("module:function" that opens one), rows of real lengths. Gives latency, throughput, memory, start-up, energy: each
subject in a process of its own, turn by turn, warmed up, the threads stated.
"""
