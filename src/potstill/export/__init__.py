"""Into what: a trained student becomes ONNX, as small as the gate on validation lets it be, in parity with what was trained.

Reads: a student. Writes: an artifact folder (``artifact.json``, ``model.onnx``, ``tokenizer.json``) and ``ladder.json``.
"""
