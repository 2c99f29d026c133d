"""The checks of benchmarks/traps.py: potstill falls into none, and each check sees the trap where it is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from peers import Tool, checks, on_potstill, rows, toys

OURS = on_potstill.tool()


@pytest.mark.parametrize("check", rows.CHECKS, ids=lambda check: check.run.__name__)
def test_potstill_avoids_what_it_has_a_part_for(check):
    said = rows.judged(check, OURS)
    assert said["verdict"] == ("avoids" if check.part in OURS.parts else "no such part"), said
    assert all(line["seen"] for line in said["evidence"])


def test_every_row_is_checked_or_said_to_be_left_out():
    left = [number for numbers in rows.LEFT_OUT for one in re.findall(r"\d+(?:-\d+)?", numbers) for number in _span(one)]
    assert sorted({check.row for check in rows.CHECKS} | set(left)) == list(range(1, 61))
    assert not {check.row for check in rows.CHECKS} & set(left)


def _span(words):
    first, _, last = words.partition("-")
    return range(int(first), int(last or first) + 1)


# ------------------------------------------------------------------------------------------- what falls in is seen to
def kl(student, teacher, temperature=1.0, *, dim=-1, reduction="batchmean"):
    return functional.kl_div((student / temperature).log_softmax(dim), (teacher / temperature).softmax(dim), reduction=reduction)


def joined_by_place(job):
    return [(row, job.taught()[(row + 1) % job.rows]) for _ in range(job.epochs) for row in range(job.rows)]


def mean_of_means(job):
    trace = toys.Trace()
    weights = torch.cat([torch.full((len(part),), 1 / len(part)) for part in torch.arange(job.rows).split(job.batch_size)])
    learnt = job.rows // (job.batch_size * job.accumulate) * job.batch_size * job.accumulate or job.rows
    gradient = torch.zeros(toys.WORDS, 1)
    gradient[1 : 1 + learnt, 0] = weights[:learnt] / -(-job.rows // job.batch_size)
    trace.steps.append({"embedding.weight": gradient})
    trace.modes += [True, False]
    return trace


def by_place(folder, labels, texts):
    return toys.told(folder)


def soft_where_asked(student, teacher, mask):
    return (kl(student, teacher, reduction="none").sum(-1) * 1.0).mean()


FALLEN = {
    "low_precision": kl,
    "temperature_squared": kl,
    "teacher_softened": lambda student, teacher, t: functional.kl_div((student / t).log_softmax(-1), teacher.softmax(-1), reduction="batchmean"),
    "direction": lambda student, teacher, t: kl(teacher, student, t),
    "masked_positions": soft_where_asked,
    "padded_states": lambda student, teacher, mask: functional.mse_loss(student, teacher),
    "padded_attention": lambda student, teacher, mask: functional.mse_loss(student[0] @ student[1].transpose(2, 3), teacher[0] @ teacher[1].transpose(2, 3)),
    "nothing_taught": lambda student, teacher, mask: (student * mask[..., None]).sum() / mask.sum(),
    "no_gold": lambda logits, gold: functional.cross_entropy(logits, gold, ignore_index=-1),
    "rows_counted_out": lambda student, teacher, t: kl(student, teacher, t, reduction="sum"),
    "rows_counted_out_of_scores": lambda student, teacher, t: (student - teacher).square().sum(),
    "lengths_counted_out": kl,
    "tokens_counted_once": lambda student, teacher, mask: (student - teacher).square().mean() / mask.sum(),
    "micro_batches": lambda job: _unequal_lengths(job),
    "last_part": mean_of_means,
    "last_step": mean_of_means,
    "constant": lambda student, teacher, t: functional.mse_loss(student, teacher),
    "at_itself": lambda student, teacher, t: functional.cross_entropy(student, teacher.softmax(-1)),
    "oracle": lambda student, teacher, t: kl(student, teacher, t, reduction="none").mean(),
    "one_scale": lambda job: ({"training": 1.0, "validation": 3.0}, 1.0),
    "axis": lambda student, teacher: kl(student, teacher, dim=1),
    "overflow": kl,
    "several_teachers": lambda logits: torch.stack(logits).mean(0).softmax(-1),
    "teacher_mode": lambda folder: (0.1, False),
    "saved_alone": lambda job, folder: (["out.weight", "teacher.out.weight"], ["out.weight"]),
    "label_order": by_place,
    "train_mode": mean_of_means,
    "own_answers": joined_by_place,
    "misspelt": lambda: {"one": True, "other": False},
}


@pytest.mark.parametrize("check", rows.CHECKS, ids=lambda check: f"{check.run.__name__}-{check.part}")
def test_a_check_sees_the_trap_where_it_is(check):
    said = rows.judged(check, Tool("broken", "0", {check.part: {"usual": FALLEN[check.run.__name__]}}))
    assert said["verdict"] == "falls in", said


def _unequal_lengths(job):
    """A loss on all tokens of a micro-batch, of which the parts' means are taken."""
    lengths = torch.tensor([len(ids) for ids in job.ids], dtype=torch.float32)
    parts = lengths.split(job.batch_size)
    gradient = torch.cat([part / part.sum() for part in parts]) / len(parts)
    return toys.Trace([{"embedding.weight": gradient[:, None]}], [True])


def test_an_option_that_changes_the_verdict_is_named():
    check = next(check for check in rows.CHECKS if check.run is checks.at_itself)
    other = FALLEN["at_itself"]
    assert rows.judged(check, Tool("t", "0", {"soft": {"usual": other, "kl": kl}}))["verdict"] == "avoids with kl"
    assert rows.judged(check, Tool("t", "0", {"soft": {"usual": kl, "ce": other}}))["verdict"] == "avoids; falls in with ce"
    assert rows.judged(check, Tool("t", "0", {}))["verdict"] == "no such part"
