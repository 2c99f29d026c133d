"""The token loss beside TRL's, Liger's and DistillKit's: processor time, extra peak memory, distance from float64. One thread, fp32.

    pip install --no-deps trl liger-kernel datasets      # beside potstill's own; DistillKit is a clone of its repository
    python benchmarks/token_loss.py [--distillkit DIR] [--only fused | sparse] [--rounds 4] [--tiny]

2,048 positions x 49,152 tokens x 576 wide, teacher and student of that shape, random; forward and backward from hidden states to the
gradients of states and head. The full-logits peer is TRL's `generalized_jsd_loss` on logits of both models; the chunked one is
Liger's `LigerFusedLinearJSDLoss` (chunks of 256, not compiled, which takes less memory; and as it comes: chunks of 1,024,
compiled). Masked: the first half of the positions, a prompt say. Sparse: top-64 of the teacher and the rest as one token, which
is DistillKit's `symmetric_uniform`, in chunks of 1,024 as its README has it, and whole.

Time: all arms take turns in one process, `time.process_time`; ratios are of paired rounds. Memory: each arm in a process of its own that
has run it once at a small size; the kernel's high-water mark of resident memory is reset, and what the mark then rises over what was
resident is the arm's: all of it, gradients too. Distance: 256 positions, largest difference from the float64 gradient over that
gradient's largest entry. Figures go to benchmarks/results/token_loss.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from torch import Tensor

from potstill.measuring import quantiles
from potstill.measuring.machine import machine
from potstill.objectives.tokens import divergences
from potstill.objectives.tokens.heads import Head
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.targets import Hidden, Sparse

HERE = Path(__file__).parent
BETA = {"forward_kl": 0.0, "jsd": 0.5}
TARGETS = {  # at most; of the upper end of the interval where it is time. Liger's hold for either of its settings
    "fused": {
        "memory": {"liger": 1 / 4, "liger as it comes": 1 / 4, "trl full": 1 / 15},
        "time": {
            0.5: {"liger": 0.5, "liger as it comes": 0.5, "trl full": 0.5},
            0.0: {"liger": 0.85, "liger as it comes": 0.85, "trl full": 1.05},
        },
    },
    "sparse": {"memory": {"distillkit": 1 / 5}, "time": {0.5: {"distillkit": 0.5}, 0.0: {"distillkit": 0.75}}},
}
DISTANCE = 1e-5
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    """One case: ``divergence`` or "sparse", the share of masked positions, and the shape."""

    divergence: str
    masked: float
    positions: int = 2048
    vocabulary: int = 49_152
    width: int = 576
    k: int = 64


class Inputs:
    """States and heads of both models; those of the student learn."""

    def __init__(self, setting: Setting) -> None:
        random = torch.Generator().manual_seed(0)

        def normal(*shape: int, size: float = 1.0) -> Tensor:
            return size * torch.randn(*shape, generator=random)

        n, size, width = setting.positions, setting.vocabulary, setting.width
        self.hidden, self.weight = normal(n, width).requires_grad_(True), normal(size, width, size=3 / width**0.5).requires_grad_(True)
        self.states, self.teacher = normal(n, width), normal(size, width, size=3 / width**0.5)
        self.mask = torch.arange(n) >= setting.masked * n
        self.labels = torch.where(self.mask, 1, -100)
        self.beta, self.setting = BETA.get(setting.divergence), setting
        if setting.divergence == "sparse":
            rows = (self.top(state, setting.k) for state in self.states.split(64))
            self.ids, self.logprobs = (torch.cat(parts) for parts in zip(*rows))
            self.tail = 1 - self.logprobs.exp().sum(-1)

    def top(self, states: Tensor, k: int) -> tuple[Tensor, Tensor]:
        kept = (states @ self.teacher.T).log_softmax(-1).topk(k)
        return kept.indices, kept.values

    def step(self, loss: Callable[[], Tensor]) -> Step:
        def run() -> Tensor:
            self.hidden.grad = self.weight.grad = None
            value = loss()
            value.backward()
            return value.detach()

        return run


# ---------------------------------------------------------------------------------------------------------------- arms
def ours(given: Inputs) -> Step:
    divergence = divergences.NAMES[given.setting.divergence]()
    target = Hidden(given.states, Head(given.teacher))
    return given.step(lambda: token_loss(given.hidden, Head(given.weight), target, divergence=divergence, mask=given.mask).mean)


def trl_full(given: Inputs) -> Step:
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    def loss() -> Tensor:
        with torch.no_grad():
            teacher = given.states @ given.teacher.T
        logits = given.hidden @ given.weight.T
        return GKDTrainer.generalized_jsd_loss(logits[None], teacher[None], given.labels[None], beta=given.beta)

    return given.step(loss)


def liger(given: Inputs, *, chunk_size: int = 256, compiled: bool = False) -> Step:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    made = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=given.beta, compiled=compiled, chunk_size=chunk_size)
    return given.step(lambda: made(given.hidden, given.weight, given.states, given.teacher, given.labels))


def ours_sparse(given: Inputs) -> Step:
    target = Sparse(given.ids, given.logprobs, given.tail)
    return given.step(lambda: token_loss(given.hidden, Head(given.weight), target, mask=given.mask).mean)


def distillkit(given: Inputs, *, chunk_length: int | None = 1024) -> Step:
    from distillkit.lossfuncs.common import MissingProbabilityHandling
    from distillkit.lossfuncs.kl import sparse_kl_div

    def loss() -> Tensor:
        logits = given.hidden @ given.weight.T
        total = sparse_kl_div(
            logits[None], given.ids[None], given.logprobs[None], given.mask[None], missing=MissingProbabilityHandling.SYMMETRIC_UNIFORM,
            chunk_length=chunk_length,
        )  # fmt: skip
        return total / given.mask.sum()

    return given.step(loss)


ARMS: dict[str, dict[str, Callable[[Inputs], Step]]] = {
    "fused": {
        "ours": ours,
        "trl full": trl_full,
        "liger": liger,
        "liger as it comes": lambda given: liger(given, chunk_size=1024, compiled=True),
    },
    "sparse": {"ours": ours_sparse, "distillkit": distillkit, "distillkit whole": lambda given: distillkit(given, chunk_length=None)},
}
WARM = {"ours", "liger as it comes"}


# ------------------------------------------------------------------------------------------------------------ measures
def timed(group: str, setting: Setting, rounds: int) -> dict[str, Any]:
    """Return each arm's processor seconds, and ours over each."""
    given = Inputs(setting)
    steps = {name: make(given) for name, make in ARMS[group].items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    values = {}
    for number in range(-1, rounds):  # the first warms up what is allocated once, or compiled
        for name, step in list(steps.items())[:: 1 if number % 2 else -1]:
            if number < 0 and name not in WARM:
                continue
            began = time.process_time()
            value = step()
            if number >= 0:
                seconds[name].append(time.process_time() - began)
            values[name] = float(value)
        print(
            f"{setting.divergence}, {setting.masked:.0%} masked, round {number + 1}: " + ", ".join(f"{k} {v[-1]:.1f} s" for k, v in seconds.items() if v),
            flush=True,
        )
    ratios = {name: quantiles.ratio(seconds["ours"], took) for name, took in seconds.items() if name != "ours"}
    return {"cpu_s": seconds, "ours_over": ratios, "value": values}


def resident(word: str) -> int:
    """Return VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(word))


def memory(group: str, name: str, setting: Setting) -> int:
    """Return the bytes that one step adds to this process's resident memory at its most."""
    ARMS[group][name](Inputs(Setting(setting.divergence, setting.masked, 64, 512, 32, 4)))()
    step = ARMS[group][name](Inputs(setting))
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the high-water mark becomes what is resident
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def in_a_process(group: str, name: str, setting: Setting, path: list[str]) -> int:
    command = [sys.executable, __file__, "--child", json.dumps([group, name, vars(setting)]), *path]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def distance(group: str, setting: Setting) -> dict[str, dict[str, float]]:
    """Return how far the value and the gradients of each arm are from float64's, relative to their largest entry."""
    given = Inputs(Setting(**{**vars(setting), "positions": min(256, setting.positions)}))
    truth = _wide(given)
    found = {}
    for name, make in ARMS[group].items():
        value = make(given)()
        pairs = {"value": (value, truth[0]), "hidden": (given.hidden.grad, truth[1]), "weight": (given.weight.grad, truth[2])}
        found[name] = {part: float(((one.double() - other).abs().max()) / other.abs().max()) for part, (one, other) in pairs.items()}
    return found


def _wide(given: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Return value and gradients in float64, by plain formulas."""
    hidden, weight = (part.detach().double().requires_grad_(True) for part in (given.hidden, given.weight))
    own = (hidden @ weight.T)[given.mask].log_softmax(-1)
    if given.beta is None:
        told, ids = given.logprobs.double()[given.mask], given.ids[given.mask]
        told = torch.cat([told, (1 - told.exp().sum(-1, keepdim=True)).log()], -1)
        kept = own.gather(-1, ids)
        own = torch.cat([kept, (-kept.exp().sum(-1, keepdim=True)).log1p()], -1)
        value = (told.exp() * (told - own)).sum()
    else:
        told = (given.states.double() @ given.teacher.double().T)[given.mask].log_softmax(-1)
        mixed = own if given.beta == 0 else (given.beta * told.exp() + (1 - given.beta) * own.exp()).log()
        value = (told.exp() * (told - mixed)).sum()
        if given.beta:
            value = given.beta * value + (1 - given.beta) * (own.exp() * (own - mixed)).sum()
    value = value / given.mask.sum()
    return (value.detach(), *torch.autograd.grad(value, (hidden, weight)))


def verdicts(group: str, line: dict[str, Any], masked: float) -> dict[str, Any]:
    """Return each target beside what was reached."""
    time_targets, memory_targets = TARGETS[group]["time"][masked], TARGETS[group]["memory"]
    found: dict[str, Any] = {}
    for name, target in time_targets.items():
        found[f"time over {name}"] = {"target": target, "reached": line["ours_over"][name]["value"], "met": line["ours_over"][name]["high"] <= target}
    for name, target in memory_targets.items():
        share = line["memory_bytes"]["ours"] / line["memory_bytes"][name]
        found[f"memory over {name}"] = {"target": target, "reached": share, "met": share <= target}
    worst = max(line["distance"]["ours"].values())
    found["distance"] = {"target": DISTANCE, "reached": worst, "met": worst <= DISTANCE}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distillkit", type=Path, help="a clone of github.com/arcee-ai/DistillKit")
    parser.add_argument("--only", choices=tuple(ARMS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tiny", action="store_true", help="a small shape, to try the script; writes nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = ["--distillkit", str(options.distillkit)] if options.distillkit else []
    sys.path[:0] = path[1:]
    if options.child:
        group, name, setting = json.loads(options.child)
        print(memory(group, name, Setting(**setting)))
        return
    shape = {"positions": 128, "vocabulary": 2000, "width": 32} if options.tiny else {}
    out = HERE / "results" / "token_loss.json"
    kept = json.loads(out.read_text("utf-8")) if out.is_file() else {"lines": {}}
    for group in [options.only] if options.only else list(ARMS):
        for divergence in BETA if group == "fused" else ["sparse"]:
            for masked in (0.5, 0.0):
                setting = Setting(divergence, masked, **shape)
                line: dict[str, Any] = {"memory_bytes": {name: in_a_process(group, name, setting, path) for name in ARMS[group]}}
                print({name: f"{size / 2**20:.0f} MiB" for name, size in line["memory_bytes"].items()}, flush=True)
                line |= {"distance": distance(group, setting), **timed(group, setting, options.rounds)}
                line["targets"] = verdicts(group, line, masked)
                print(json.dumps(line["targets"], indent=1), flush=True)
                kept["lines"][f"{divergence}, {'half' if masked else 'none'} masked"] = line
                shape_of_all = Setting("", 0.0)
                kept |= {"machine": machine(1), "setting": vars(shape_of_all), "versions": versions(options.distillkit)}
                kept["gradient_mib"] = shape_of_all.vocabulary * shape_of_all.width * 4 / 2**20
                if not options.tiny:
                    out.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def versions(clone: Path | None) -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("torch", "trl", "liger-kernel")}
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, text=True, check=False).stdout.strip() if clone else ""
    return found | ({"distillkit": revision} if revision else {})


if __name__ == "__main__":
    main()
