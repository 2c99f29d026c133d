"""What the tests of traps 36, 41, 53, 55 and 60 must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_evidence.py::test_trap_"
MUTANTS = [
    Mutant(
        trap=60,
        file="evaluation/checks.py",
        old='"pass" if found.high <= required',
        new='"pass" if found.value <= required',
        test=f"{TESTS}60_a_student_at_the_edge_ships_no_more_often_than_promised",
    ),
    Mutant(
        trap=60,
        file="evaluation/statistics/intervals.py",
        old="bisect(lambda d: -_score(worse, better, n, d), z, drop, 1.0, STEPS)",
        new="bisect(lambda d: -_score(worse, better, n, d), z / 2, drop, 1.0, STEPS)",
        test=f"{TESTS}60_a_student_at_the_edge_ships_no_more_often_than_promised",
    ),
    Mutant(
        trap=60,
        file="evaluation/registration.py",
        old="return (1 - FIRST_SHARE) * alpha * 0.5 ** (number - 1)",
        new="return FIRST_SHARE * alpha",
        test=f"{TESTS}60_nor_over_three_looks_at_the_same_rows",
    ),
    Mutant(
        trap=60,
        file="evaluation/statistics/intervals.py",
        old="return max(-1.0, min(low, least)), min(1.0, max(high, most))",
        new="return low, high",
        test=f"{TESTS}60_nor_where_whole_groups_go_wrong",
    ),
    Mutant(
        trap=60,
        file="evaluation/rows.py",
        old="high = max(high, found + unseen_mistakes(metric, rows, sides, value, alpha))",
        new="high = max(high, found)",
        test=f"{TESTS}60_nor_where_resampling_never_shows_a_mistake",
    ),
    Mutant(
        trap=60,
        file="evaluation/verdict.py",
        old="needed = contender.expected.rows_needed(share(read.next, alpha)) if undecided else None",
        new="needed = None",
        test=f"{TESTS}60_too_few_rows_are_inconclusive_with_the_number_needed",
    ),
    Mutant(
        trap=60,
        file="evaluation/statistics/power.py",
        old="POWER = 0.8",
        new="POWER = 0.5",
        test=f"{TESTS}60_the_number_needed_is_enough_in_four_of_five_draws",
    ),
    Mutant(
        trap=55,
        file="evaluation/statistics/bootstrap.py",
        old="    low, high = np.quantile(np.concatenate(draws), [alpha, 1 - alpha])",
        new="    low = high = observed",
        test=f"{TESTS}55_the_spread_over_seeds_is_part_of_the_interval",
    ),
    Mutant(
        trap=55,
        file="evaluation/statistics/bootstrap.py",
        old="draws = np.concatenate([value(sums[:, :width], sums[:, width:]) for sums in weights])",
        new="draws = np.concatenate([value(sums[:, :width], sums[::-1, width:]) for sums in weights])",
        test=f"{TESTS}55_every_difference_has_a_paired_interval",
    ),
    Mutant(
        trap=55,
        file="evaluation/checks.py",
        old='"pass" if found.high <= required',
        new='"pass" if found.value <= required',
        test=f"{TESTS}55_meets_the_requirement_means_that_its_bound_does",
    ),
    Mutant(
        trap=53,
        file="records.py",
        old="registration.test_hash != self.digest or not registration.path.is_file()",
        new="not registration.path.is_file()",
        test=f"{TESTS}53_the_test_rows_stay_shut_until_the_analysis_is_on_paper",
    ),
    Mutant(
        trap=53,
        file="evaluation/registration.py",
        old="key = storage.digest(registration.test_hash, registration.hash, dict(artifacts), dict(predictions))",
        new="key = storage.digest(registration.test_hash, dict(artifacts), dict(predictions))",
        test=f"{TESTS}53_a_requirement_changed_after_the_look_is_another_look",
    ),
    Mutant(
        trap=53,
        file="evaluation/registration.py",
        old="repeated = key in booked",
        new="repeated = bool(booked)",
        test=f"{TESTS}53_a_student_tried_after_the_look_pays_for_another",
    ),
    Mutant(
        trap=36,
        file="evaluation/standing.py",
        old="        if drop.high < 0:",
        new="        if drop.high < -1:",
        test=f"{TESTS}36_a_saturated_teacher_is_said_and_so_is_one_that_its_student_beats",
    ),
    Mutant(
        trap=36,
        file="evaluation/standing.py",
        old="SATURATED = 0.95",
        new="SATURATED = 1.0",
        test=f"{TESTS}36_a_saturated_teacher_is_said_and_so_is_one_that_its_student_beats",
    ),
    Mutant(
        trap=41,
        file="evaluation/standing.py",
        old="if ahead <= 2 * _error(majority, n, metric):",
        new="if ahead < -1:",
        test=f"{TESTS}41_a_teacher_at_chance_is_refused_before_anything_is_trained_on_it",
    ),
    Mutant(
        trap=41,
        file="evaluation/standing.py",
        old="if floor is not None and sign * (teacher - floor) < 0:",
        new="if False:",
        test=f"{TESTS}41_a_teacher_below_the_floor_is_warned_of",
    ),
]
