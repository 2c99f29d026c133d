"""A run that augments, killed and out of disk wherever it writes what it made, ends as the one that nobody disturbed."""

from __future__ import annotations

import pytest

from tests.faults.test_whole_run import the_same
from tests.faults.whole import FINISHED, Whole
from tests.flow.test_augmented import POOL, SMALL, TEST, TRAIN
from tests.small import job

pytestmark = pytest.mark.slow


def test_killed_and_out_of_disk_wherever_made_rows_are_written(tmp_path):
    recipe = job(tmp_path / "job", train=TRAIN, pool=POOL, test=TEST, recipe=SMALL)
    undisturbed = Whole(tmp_path / "undisturbed", recipe)
    code, said = undisturbed.go()
    assert code in FINISHED, said
    points = [point for point in dict.fromkeys(undisturbed.points) if "augment" in point]
    assert {"augment.chunk.before", "augment.chunk.after", "augment.before", "stage.augment.before", "augmented.after"} <= set(points)
    whole = Whole(tmp_path / "whole", recipe)
    for point in points:
        if point.endswith(".before"):
            code, said = whole.go(POTSTILL_FULL_AT=point)
            assert (code, "No space left on device" in said) == (2, True), (point, said)
        assert whole.go(POTSTILL_KILL_AT=point)[0] == -9, f"{point} was not passed"
    assert whole.go()[0] in FINISHED
    the_same(whole, undisturbed)
    assert (whole.run / "augmented.jsonl").read_bytes() == (undisturbed.run / "augmented.jsonl").read_bytes()
