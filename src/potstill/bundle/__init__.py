"""What is shipped: the artifact with its probes, calibration, model card and hashes, in one folder that answers without torch.

Reads: an artifact's folder and what is known of it. Writes: ``bundle/``, its ``manifest.json`` last.
"""
