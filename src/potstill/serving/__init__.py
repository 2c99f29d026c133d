"""WHO ANSWERS NOW: the shipped artifact behind one call, in numpy, tokenizers and ONNX Runtime alone.

Reads an artifact's folder (``artifact.json``, ``model.onnx``, ``tokenizer.json``); writes nothing. Its preprocessing is
what students were trained with, built from the same spec.
"""
