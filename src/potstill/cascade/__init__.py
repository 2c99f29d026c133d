"""WHO IS ASKED WHEN THE STUDENT IS NOT SURE: a policy that was fitted, not chosen, and carries its guarantee.

Reads: how sure a bundle was of calibration rows, and where it was wrong. Gives ``policy.json``, bound to the bundle by its digest. Fitting
and asking alike need numpy alone.
"""
