"""What training costs: from the label store over asking the teacher in every step, bucketed over fixed padding, our loop over bare PyTorch.

    python benchmarks/training.py store   --from DIR     # DIR holds SST-2's train.tsv
    python benchmarks/training.py padding --from DIR
    python benchmarks/training.py loop    --from DIR

SST-2 sentences, MiniLM (6 layers, 384 wide, 22.7 million parameters) the teacher, students cut from it, batches of 32, fp32, one thread. Both
arms take turns in one process; ratios are of CPU time, of pairs, with a 95 % t interval of the mean logarithm. Epochs after the first: what
the store had to be told is paid once, before. Figures go to benchmarks/results/training-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairs import alternate, milliseconds, ratio
from potstill.measuring.machine import machine
from potstill.records import Want
from potstill.students.transformer import TransformerStudent
from potstill.teachers.model import HALF
from potstill.training import schedules
from potstill.training.learner import Part
from setting import HIDDEN, LOGITS, MAX_LENGTH, RATE, STEPS, Setting, ready, teacher_items

HERE = Path(__file__).parent
TEMPERATURE = 2.0  # the objective's own
OBJECTIVES = {"logits": LOGITS, "logits and hidden states": HIDDEN}


# ----------------------------------------------------------------------------------------- the store over asking online
def online(setting: Setting, run: Any, *, stored: bool = False) -> Callable[[np.ndarray], tuple[list[Part], float]]:
    """Return what gives a step its rows with the teacher's answers asked then and there; ``stored``: rounded as the store keeps them."""
    items, pad = teacher_items(setting)

    @torch.no_grad()
    def parts(batch: np.ndarray) -> tuple[list[Part], float]:
        inputs = {name: torch.from_numpy(array) for name, array in run.student.preprocess.collate([run.rows.items[i] for i in batch]).items()}
        asked = {name: torch.from_numpy(array) for name, array in pad([items[i] for i in batch]).items()}
        output = setting.teacher._model(**asked, output_hidden_states=any(want.kind == "hidden" for want in run.wants))
        real = asked["attention_mask"].bool()

        def answer(want: Want) -> Tensor:
            if want.kind != "hidden":
                return output.logits.float().log_softmax(-1)
            states: Tensor = output.hidden_states[want.layer][real]
            return states.clamp(-HALF, HALF).half() if stored else states

        return [Part(inputs, {want: answer(want) for want in run.wants}, torch.full((len(batch),), -1))], 1.0

    return parts


def exact(setting: Setting, run: Any) -> None:
    """Hold that what the store gives back is to the bit what the teacher said."""
    for start in range(0, len(setting.rows), 256):  # the company in which the store asked
        group = setting.rows[start : start + 256]
        for place, (_, said) in enumerate(_in_order(setting.teacher.answer(group, sorted(run.wants, key=lambda want: want.key)), group)):
            for want in run.wants:
                kept, told = run.rows.teacher[want][start + place], said.arrays[want]
                assert (kept.dtype, kept.tobytes()) == (told.dtype, told.tobytes()), (start + place, want.key)


def _in_order(answers: Any, group: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    found = dict(answers)
    return ((row.id, found[row.id]) for row in group)


@torch.no_grad()
def apart(run: Any, asked: Callable[[np.ndarray], tuple[list[Part], float]], batches: Sequence[np.ndarray]) -> float:
    """Return the greatest difference of a batch's mean loss, dropout off, between the store's answers and the teacher's now, both as the store keeps them."""
    run.learner.eval()
    found = []
    for batch in batches:
        losses = []
        for parts in (run.parts(batch)[0], asked(batch)[0]):
            losses.append(float((run.learner(parts[0]).double() / run.learner.counts(parts[0]) * run.weights).sum()))
        found.append(abs(losses[0] - losses[1]))
    run.learner.train()
    return max(found)


def forward(run: Any, batch: np.ndarray) -> Callable[[int], object]:
    inputs = run.parts(batch)[0][0].inputs

    @torch.inference_mode()
    def go(_: int) -> None:
        run.student.module.eval()
        run.student.forward(inputs)

    return go


def store(setting: Setting, pairs: int) -> dict[str, Any]:
    lines = [_stored(setting, name, title, pairs) for name in ("one", "narrow", "thin") for title in OBJECTIVES]
    return {"lines": lines, "targets": {"logits": 4.0, "logits and hidden states": 3.0}}


def _stored(setting: Setting, name: str, title: str, pairs: int) -> dict[str, Any]:
    student = setting.student(name, trimmed=True)
    from_store, asking = (ready(setting, student, OBJECTIVES[title]) for _ in range(2))
    batches = _batches(from_store)
    exact(setting, from_store)
    difference = apart(from_store, online(setting, asking, stored=True), batches[:8])
    assert difference <= 1e-6, difference
    teacher = asking.parts = online(setting, asking)
    spent = alternate({"online": _steps(asking, batches), "store": _steps(from_store, batches)}, pairs)
    both = alternate({"teacher": lambda k: teacher(batches[0]), "student": forward(ready(setting, student, LOGITS), batches[0])}, 8)
    over = {"forward": ratio(both["teacher"], both["student"])["value"], "parameters": setting.parameters / student.parameters}
    return _said(
        {
            "student": name, "objectives": title, "parameters": student.parameters, "times": ratio(spent["online"], spent["store"]),
            "ms": {arm: milliseconds(took) for arm, took in spent.items()}, "loss_apart": difference, "teacher_over_student": over,
        }
    )  # fmt: skip


def _steps(run: Any, batches: Sequence[np.ndarray]) -> Callable[[int], object]:
    return lambda turn: run.step(batches[turn % len(batches)])


def _said(line: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(line), flush=True)
    return line


# ------------------------------------------------------------------------------------------------------ loops by hand
class Bare:
    """The loop that people write: the same forward pass, loss, clipping, AdamW and schedule, by hand."""

    def __init__(self, student: TransformerStudent, items: Sequence[Mapping[str, np.ndarray]], taught: np.ndarray, *, pad_to: int | None) -> None:
        self.model, self.taught = student.module.train(), torch.from_numpy(taught)
        self.inputs = student.preprocess.inputs
        self.rows = [{name: torch.from_numpy(item[name]) for name in self.inputs} for item in items]
        if pad_to is not None:
            self.rows = [{name: functional.pad(value, (0, pad_to - len(value))) for name, value in row.items()} for row in self.rows]
        named = [[p for p in self.model.parameters() if (p.ndim > 1) == decays] for decays in (True, False)]
        self.optimizer = torch.optim.AdamW([{"params": named[0]}, {"params": named[1], "weight_decay": 0.0}], lr=RATE, weight_decay=0.01, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: schedules.linear(step, steps=STEPS, warmup=0.06))

    def step(self, batch: np.ndarray) -> None:
        rows = [self.rows[i] for i in batch]
        inputs = {name: torch.nn.utils.rnn.pad_sequence([row[name] for row in rows], batch_first=True) for name in self.inputs}
        logits = self.model(**inputs).logits
        target = (self.taught[batch] / TEMPERATURE).log_softmax(-1)
        own = (logits / TEMPERATURE).log_softmax(-1)
        loss = TEMPERATURE**2 * functional.kl_div(own, target, log_target=True, reduction="batchmean")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


def _bare(setting: Setting, name: str, ours: Any, pad_to: int | None) -> Bare:
    taught = np.concatenate(next(iter(ours.rows.teacher.values())))
    return Bare(setting.student(name, trimmed=name != "half"), ours.rows.items, taught, pad_to=pad_to)


def padding(setting: Setting, pairs: int) -> dict[str, Any]:
    return {"lines": [_padded(setting, name, pairs) for name in ("half", "narrow")], "target": 4.0}


def _padded(setting: Setting, name: str, pairs: int) -> dict[str, Any]:
    ours = ready(setting, setting.student(name, trimmed=name != "half"), LOGITS)
    plain = _bare(setting, name, ours, MAX_LENGTH)
    random, epochs, count = np.random.default_rng(0), ours.batches(0), -(-len(setting.rows) // 32)

    def bucketed(_: int) -> None:
        for _ in range(count):
            ours.step(next(epochs))

    def fixed(_: int) -> None:
        order = random.permutation(len(setting.rows))
        for start in range(0, len(order), 32):
            plain.step(order[start : start + 32])

    spent = alternate({"fixed": fixed, "bucketed": bucketed}, pairs, warm=1)
    ms = {arm: milliseconds(took, count) for arm, took in spent.items()}
    return _said({"student": name, "times": ratio(spent["fixed"], spent["bucketed"]), "ms": ms})


def over_bare(setting: Setting, pairs: int) -> dict[str, Any]:
    return {"lines": [_over_bare(setting, name, pairs) for name in ("half", "narrow", "thin")], "target": 1.03}


def _over_bare(setting: Setting, name: str, pairs: int) -> dict[str, Any]:
    ours = ready(setting, setting.student(name, trimmed=name != "half"), LOGITS)
    plain, batches = _bare(setting, name, ours, None), _batches(ours)
    spent = alternate({"ours": _steps(ours, batches), "bare": lambda turn: plain.step(batches[turn % len(batches)])}, pairs, warm=4)
    return _said({"student": name, "times": ratio(spent["ours"], spent["bare"]), "ms": {arm: milliseconds(took) for arm, took in spent.items()}})


def _batches(run: Any) -> list[np.ndarray]:
    """Return the first epoch's batches that are full."""
    epoch = run.batches(0)
    return [batch for batch in (next(epoch) for _ in range(-(-len(run.rows) // 32))) if len(batch) == 32]


CLAIMS: dict[str, tuple[Callable[[Setting, int], dict[str, Any]], int, int]] = {
    "store": (store, 640, 30),
    "padding": (padding, 320, 5),
    "loop": (over_bare, 640, 60),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=tuple(CLAIMS))
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the folder with SST-2's train.tsv")
    parser.add_argument("--rows", type=int, help="other than the claim's own number")
    parser.add_argument("--pairs", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    claim, rows, pairs = CLAIMS[options.claim]
    texts = [line.rpartition("\t")[0].strip() for line in (options.source / "train.tsv").read_text("utf-8").splitlines()][: options.rows or rows]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POTSTILL_HOME"] = folder
        setting = Setting.of(texts, Path(folder))
        result = {"machine": machine(1), "rows": len(setting.rows), "tokens": setting.tokens(), **claim(setting, options.pairs or pairs)}
    (HERE / "results" / f"training-{options.claim}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
