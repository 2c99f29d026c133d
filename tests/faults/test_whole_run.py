"""A whole run that is killed again and again, or meets a full disk, ends as the one that nobody disturbed; nothing is asked twice."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.whole import FINISHED, Whole, differing
from tests.small import job

pytestmark = pytest.mark.slow
KILLS = 20
EVERYWHERE = ("file.", ".manifest.")  # inside other points: passed dozens of times, and walked through by the random kills


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, recipe):
    whole = Whole(tmp_path_factory.mktemp("undisturbed") / "whole", recipe)
    code, said = whole.go()
    assert code in FINISHED, said
    return whole


def the_same(whole: Whole, undisturbed: Whole) -> None:
    """Assert that data, models, predictions, quality, fidelity, verdict and bundle are equal, and that the calls add up."""
    assert not (found := differing(whole.state(), undisturbed.state())), "\n".join(found)
    cost, calls = whole.report["cost"], undisturbed.report["cost"]["teacher_calls"]
    assert cost["teacher_calls"] == calls == sum(undisturbed.asked.values())
    assert set(whole.asked) == set(undisturbed.asked)
    assert sum(whole.asked.values()) <= calls + cost["possibly_paid"]  # asked again only where a kill left an answer unkept


def test_two_undisturbed_runs_are_equal(undisturbed, recipe, tmp_path):
    whole = Whole(tmp_path / "whole", recipe)
    assert whole.go()[0] in FINISHED
    the_same(whole, undisturbed)
    assert whole.report["cost"]["possibly_paid"] == 0


@pytest.mark.parametrize("half", [0, 1])
def test_killed_and_out_of_disk_at_every_named_write_point(undisturbed, recipe, tmp_path, half):
    points = [point for point in dict.fromkeys(undisturbed.points) if not any(part in point for part in EVERYWHERE)]
    assert len(points) > 2 * KILLS
    points = points[: len(points) // 2] if half == 0 else points[len(points) // 2 :]
    whole = Whole(tmp_path / "whole", recipe)
    for point in points:
        if point.endswith(".before"):
            code, said = whole.go(POTSTILL_FULL_AT=point)
            assert (code, "No space left on device" in said) == (2, True), (point, said)
        assert whole.go(POTSTILL_KILL_AT=point)[0] == -9, f"{point} was not passed"
    code, said = whole.go()
    assert code in FINISHED, said
    the_same(whole, undisturbed)


def test_killed_at_random_moments(undisturbed, recipe, tmp_path):
    moments, kills, runs = random.Random(0), 0, 0
    while kills < KILLS:
        runs += 1
        whole = Whole(tmp_path / str(runs), recipe)
        while (process := whole.start()).poll() is None:
            time.sleep(moments.uniform(1, 8))
            if kills == KILLS or process.poll() is not None:
                break
            process.kill()
            process.communicate()
            kills += 1
        _, said = process.communicate(timeout=300)
        assert process.returncode in FINISHED, said
        the_same(whole, undisturbed)
