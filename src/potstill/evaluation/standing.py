"""How the teacher stands: good enough to learn from, and honest to learn from?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..records import Interval

SATURATED = 0.95  # share of answers all but certain, from which a teacher is called saturated
JUDGEABLE = 100  # validation rows under which a teacher that is merely not shown to be above chance is warned of, not refused


@dataclass(frozen=True)
class Standing:
    """How the teacher stands on validation: good enough to learn from?"""

    status: Literal["ok", "warn", "refuse"]
    message: str


def teacher_standing(
    *,
    teacher: float,
    majority: float,
    floor: float | None,
    n: int,
    metric: str,
    saturated: float = 0.0,
    higher_is_better: bool = True,
    named: str = "TF-IDF with a linear model",
    chance: str = "the majority alone",
) -> Standing:
    """Judge the teacher before anything is learnt from it. ``refuse`` at chance: not above the majority by two standard errors.

    ``teacher``, ``majority`` (who knows only how common each label is; ``chance`` names it) and ``floor`` (which is ``named``, None where there is
    none) are values of ``metric`` on the same ``n`` validation rows; ``saturated``: share of the teacher's answers that are all but
    certain. Under ``JUDGEABLE`` rows a teacher that is above the majority is warned of, not refused.
    """
    sign = 1 if higher_is_better else -1
    if n == 0:
        return Standing("warn", f"no validation row has gold: whether the teacher is any better than chance in {metric} can't be told")
    ahead = sign * (teacher - majority)
    if ahead <= 2 * _error(majority, n, metric):
        found = f"{metric} {teacher:.3f} on {n:,} validation rows, {chance} has {majority:.3f}"
        if ahead > 0 and n < JUDGEABLE:
            return Standing("warn", f"the teacher is not shown to be above chance: {found}; more validation rows would tell")
        return Standing("refuse", f"the teacher is at chance: {found}")
    if floor is not None and sign * (teacher - floor) < 0:
        return Standing("warn", f"the teacher ({metric} {teacher:.3f}) is below {named} ({floor:.3f}): do not distil this teacher")
    if saturated > SATURATED:
        return Standing("warn", f"{saturated:.0%} of the teacher's answers are all but certain: soft labels teach no more than hard ones")
    return Standing("ok", f"the teacher has {metric} {teacher:.3f} on {n:,} validation rows")


def _error(majority: float, n: int, metric: str) -> float:
    """Return the standard error of a metric at chance: binomial for accuracy and, more than it can be, for grades of answers; 1 / sqrt(n) for MCC
    (Cramer 1946, as n MCC^2 is a chi-square) and, more than it can be, for F1; none for a loss, where the majority itself is the line."""
    if metric in ("accuracy", "subset_accuracy", "exact_match", "choice", "rouge_l", "callable"):
        return float((max(majority * (1 - majority), 1 / max(n, 1)) / n) ** 0.5)
    return 0.0 if metric in ("log_loss", "hamming_loss", "bits_per_byte", "perplexity") else float(n**-0.5)


def teacher_notes(
    *,
    metric: str,
    saturated: float,
    drops: Mapping[str, Interval],
    behind_floor: bool = False,
    behind_control: Mapping[str, bool] | None = None,
    named: str = "TF-IDF with a linear model",
) -> list[str]:
    """Return what must be said of a teacher after the test: it was saturated, or its students, the floor or the control beat it.

    ``drops``: by student, teacher minus student on the test rows, two-sided 95 %. ``behind_floor``: TF-IDF and a linear model did better
    than the teacher. ``behind_control``: by student, whether the same student without the teacher did as well.
    """
    lines = []
    if saturated > SATURATED:
        lines.append(
            f"{saturated:.0%} of the teacher's answers are all but certain (one-hot): they teach what hard labels teach; "
            "a higher kd_temperature, or a teacher adapted for fewer epochs, tells more"
        )
    if behind_floor:
        lines.append(f"the teacher is below {named} in {metric}: no student of it can be recommended, whatever the verdict on the drop")
    for name, drop in drops.items():
        if drop.high < 0:
            lines.append(
                f"{name} is better than its teacher in {metric}, beyond chance: a small drop against this teacher says little; "
                "look for a better teacher, or require more than to be as good as this one"
            )
        elif drop.value < 0:
            lines.append(f"{name} did better than its teacher in {metric} on these rows, within what chance gives")
    for name, behind in (behind_control or {}).items():
        if behind:
            lines.append(f"{name} is not shown to be better than the same student trained on labels alone: the teacher may not be needed for it")
    return lines
