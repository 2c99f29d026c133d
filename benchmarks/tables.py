"""Write ``docs/benchmarks.md`` from what the scripts left in ``benchmarks/results``; ``--check`` only says whether it is current."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
TITLES = {"sst2": "SST-2: sentiment of sentences", "trec": "TREC: what a question asks for"}
HEAD = """# What was measured

Written by `benchmarks/tables.py` from `benchmarks/results`; a test holds the two together. Intervals in brackets are two-sided 95 %.
"""


def page() -> str:
    """Return the page."""
    lines = [HEAD]
    for name, title in TITLES.items():
        path = HERE / "results" / f"classify-{name}.json"
        if path.is_file():
            lines += [*_classified(name, title, json.loads(path.read_text("utf-8"))), ""]
    for name, shown in (("bundle", _bundle), ("ngram", _ngram), ("serving", _served)):
        path = HERE / "results" / f"{name}.json"
        if path.is_file():
            lines += [*shown(json.loads(path.read_text("utf-8"))), ""]
    path = HERE / "results" / "labelling.json"
    if path.is_file():
        lines += [*_labelling(json.loads(path.read_text("utf-8"))), ""]
    path = HERE / "results" / "simulate_verdict.json"
    if path.is_file():
        lines += [*_simulated(json.loads(path.read_text("utf-8"))), ""]
    path = HERE / "results" / "simulate_cascade.json"
    if path.is_file():
        lines += [*_cascade(json.loads(path.read_text("utf-8"))), ""]
    lines += [*_training(), ""]
    path = HERE / "results" / "augment-speed.json"
    if path.is_file():
        lines += [*_masked(json.loads(path.read_text("utf-8"))), ""]
    line = {path.stem.partition("-")[2]: json.loads(path.read_text("utf-8")) for path in sorted((HERE / "results").glob("tinybert-*.json"))}
    if line:
        lines += [*_tinybert(line), ""]
    ablations = {path.stem.partition("-")[2]: json.loads(path.read_text("utf-8")) for path in sorted((HERE / "results").glob("ablations-*.json"))}
    if ablations:
        lines += [*_ablations(ablations), ""]
    path = HERE / "results" / "traps.json"
    if path.is_file():
        lines += [*_traps(json.loads(path.read_text("utf-8"))), ""]
    return "\n".join(lines).rstrip() + "\n"


# -------------------------------------------------------------------------------------------------------------- the server
def _served(found: Mapping[str, Any]) -> Iterator[str]:
    rates, singles, over, swap = found["rates"], found["singles"], found["overload"], found["swap"]
    median = {arm: sorted(values)[len(values) // 2] for arm, values in rates.items()}
    lit = max(("litserve", "litserve-8"), key=lambda arm: median[arm])
    overhead = singles["ours"]["p50_ms"] - found["bare"]["run_ms"]
    yield "## Served"
    yield ""
    yield f"`python benchmarks/serving.py --bundle DIR --peers PYTHON`: {found['machine']['cpu']}; client on one core, server on the other; a student of"
    yield f"{found['bundle_bytes'] / 1e6:.1f} MB; " + ", ".join(f"{name} {number}" for name, number in found["versions"].items()) + "."
    yield ""
    yield f"| server | highest rate with p99 <= {found['limit_ms']:.0f} ms: median and range | one at a time, p50 ms |"
    yield "|---|---|---|"
    for arm, values in rates.items():
        yield f"| {arm} | {median[arm]:,.0f}/s [{min(values):,.0f}, {max(values):,.0f}] | {singles[arm]['p50_ms']:.2f} |"
    yield ""
    yield "| claim | target | found |"
    yield "|---|---|---|"
    yield f"| rate against LitServe (the better of its two) | >= 1.5 | {_ratios(rates['ours'], rates[lit])} |"
    yield f"| rate against the plain server | >= 1.2 | {_ratios(rates['ours'], rates['plain'])} |"
    yield f"| one request over a bare ONNX Runtime call of {found['bare']['run_ms']:.2f} ms, p50 | <= 1 ms | {overhead:.2f} ms |"
    yield f"| five times its rate: p99 of those accepted | <= {over['limit_ms']:,.0f} ms | {over['p99_ms']:,.0f} ms |"
    yield f"| the rest is told 429 | all | {over['refused']:,} of {over['refused'] + over['other']:,} |"
    yield f"| memory before and after | flat | {over['memory_mb'][0]:.0f} MB, {over['memory_mb'][1]:.0f} MB |"
    yield f"| recovered in | < 1 s | {'not in 10 s' if over['recovery_s'] is None else format(over['recovery_s'], '.2f') + ' s'} |"
    yield f"| bundles swapped under load: errors | 0 | {swap['errors']} of {swap['requests']:,} requests, {swap['swaps']} swaps |"
    terms = found["sigterm"]
    late = sum(one["lost_after"] for one in terms)
    yield f"| SIGTERM under load: requests sent before it that got no answer | 0 | {sum(one['lost_before'] for one in terms)} in {len(terms)} rounds |"
    yield f"| of those sent after it, cut off with their connection; the others were answered, or told 503 | - | {late} |"
    sound = sum(one["sound"] for one in found["sigkill"])
    oldest = max(one["oldest_missing_s"] for one in found["sigkill"])
    yield f"| kill -9 under load: the traffic log is sound, the oldest row that it lost | all, < 1 s | {sound} of {len(found['sigkill'])}, {oldest:.2f} s |"


def _ratios(ours: list[float], theirs: list[float]) -> str:
    """Return the median of the ratios round by round, and their range."""
    found = sorted(a / b for a, b in zip(ours, theirs) if b)
    return f"{found[len(found) // 2]:.2f} [{found[0]:.2f}, {found[-1]:.2f}]" if found else "-"


# ------------------------------------------------------------------------------------------------- students on real sets
def _classified(name: str, title: str, found: Mapping[str, Any]) -> Iterator[str]:
    data, teacher, machine, required = (found[part] for part in ("data", "teacher", "machine", "requirement"))
    metric = found["metric"]
    yield f"## {title}"
    yield ""
    yield f"`python benchmarks/classify.py {name} --from DIR`: {data['train']:,} gold rows, {data['unlabeled']:,} in the pool, {data['test']:,} test rows;"
    yield f"seeds {', '.join(map(str, found['seeds']))}; {machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}."
    floor = next((b for b in found["baselines"] if b["name"] != "majority"), None)
    yield (
        f"Teacher: {metric} {teacher['quality'][metric]:.3f}, {teacher['size_bytes'] / 1e6:.0f} MB, {teacher['throughput_per_s']:,.0f} texts/s."
        + (f" {floor['name']}: {floor['quality'][metric]:.3f}." if floor else "")
    )
    yield ""
    yield f"| student | {metric} | retention | gain over its control | gain over the floor | speed-up | MB | p95, ms | meets |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for student in found["students"]:
        quality = "-" if student["quality"] is None else f"{student['quality'][metric]:.3f}"
        control = student["control"]["gain"] if student["control"] else None
        speed = student["speedup"]["throughput"] if student["speedup"] else None
        cells = (
            f"{student['name']} ({student['precision']})", quality, _percent(student["retention"]), _points(control), _points(student["gain_floor"]),
            "-" if speed is None else f"{speed['value']:.1f} [{speed['low']:.1f}, {speed['high']:.1f}]", f"{student['size_bytes'] / 1e6:.1f}",
            f"{student['latency_ms']['p95']:.2f}", {True: "yes", False: "no", None: "not tested"}[student["meets"]],
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    yield ""
    allowed, verdict = required["quality"], found["verdict"]
    yield f"Verdict for a drop of at most {100 * allowed['max_drop']:g} points at {allowed['confidence']:.0%} confidence: **{verdict['decision']}**."
    yield from (f"- {reason}" for reason in verdict["reasons"])


def _percent(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def _points(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{100 * found['value']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


# ------------------------------------------------------------------------------------------------------------ labelling
def _labelling(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield "## What an answer of the teacher costs"
    yield ""
    options = f"--rows {found['rows']} --rounds {found['rounds']} --equal-rows {found['compared']}"
    yield f"`python benchmarks/labelling.py --from DIR {options}`: a MiniLM fine-tuned on SST-2; in each round"
    yield f"all take turns; processor time of one thread; {machine['cpu']}, beside fp32 it has {', '.join(machine['precision']) or 'nothing'} in hardware."
    yield f"The plain loop: fp32, batches of 32 in file order, padded to the longest: {found['plain_texts_per_cpu_s']:,.0f} texts a second. Ours tokenizes and"
    yield "stores too. Equal answers, and how far probabilities lie apart, are of"
    yield f"{found['compared']:,} sentences of those it was fine-tuned on. onnx-int8 asks what it is unsure of again in"
    yield f"fp32. `precision: auto` chose **{found['chosen']}** here."
    yield ""
    yield "| precision | times the plain loop | equal answers | mean difference in probability |"
    yield "|---|---|---|---|"
    for line in found["lines"]:
        times = line["times"]
        yield (
            f"| {line['precision']} | {times['value']:.2f} [{times['low']:.2f}, {times['high']:.2f}] | {line['same']:.2%} | "
            f"{line['mean_abs_probability_difference']:.4f} |"
        )


# ------------------------------------------------------------------------------------------------------------- training
STUDENTS = {
    "half": "3 layers, 384 wide", "one": "1 layer, 384 wide", "narrow": "2 layers, 192 wide", "thin": "1 layer, 192 wide",
}  # fmt: skip


def _training() -> Iterator[str]:
    found = {path.stem.removeprefix("training-"): json.loads(path.read_text("utf-8")) for path in sorted((HERE / "results").glob("training-*.json"))}
    yield "## What a training step costs"
    yield ""
    yield "SST-2 sentences; MiniLM (6 layers, 384 wide), with a head that nobody trained, the teacher; students cut from it; batches of 32, fp32, one thread;"
    yield "CPU time of arms that take turns in one process. An online trainer runs the teacher in every step; ours reads what it said from the store. The first"
    yield "epoch, in which the store must be filled, is not counted. Backward takes about twice a forward pass, so that a student whose forward pass is n times"
    yield "cheaper than the teacher's can gain 1 + n / 3 at most: 2.7 times at n = 5, 4 times from n = 9 on. Times the other side:"
    for name, (title, rows) in TRAINING.items():
        if name in found:
            yield from ("", *title(found[name]), "", *rows(found[name]))
    yield ""
    yield "What wasn't reached: *TextBrewer with its cache of logits* asks the teacher as seldom as we do, and keeps each batch's company for all epochs for"
    yield "it; what is left is padding. `sentence-transformers` pads to the longest of a random batch, tokenizes in every step, and has no sampler by length."


def _claim(found: Mapping[str, Any], script: str, words: str) -> Iterator[str]:
    tokens = found["tokens"]
    rows = f"{found['rows']:,} rows of {tokens['mean']:g} tokens, {tokens['longest']} at most; {found['machine']['cpu']}"
    yield f"`python benchmarks/{script} --from DIR --rows {found['rows']}`: {rows}."
    yield words


def _table(kind: str, lines: Iterator[tuple[str, str, Mapping[str, Any], str]]) -> Iterator[str]:
    yield f"| student | {kind} | times | pairs | ms a step | target |"
    yield "|---|---|---|---|---|---|"
    for student, what, line, target in lines:
        ms, times = line["ms"].values(), line["times"]
        cells = (f"{student}: {STUDENTS[student]}", what, _times(times), str(times["pairs"]), " / ".join(f"{value:.1f}" for value in ms), target)
        yield f"| {' | '.join(cells)} |"


def _times(found: Mapping[str, Any]) -> str:
    digits = 3 if found["value"] < 1.2 else 2
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def _target(value: float, reached: bool, sign: str = ">=") -> str:
    return f"{sign} {value:g}: {'reached' if reached else '**missed**'}"


def _from_store(found: Mapping[str, Any]) -> Iterator[str]:
    apart = max(line["loss_apart"] for line in found["lines"])
    return _claim(
        found, "training.py store", "Vocabulary trimmed. The store gives back to the bit what the teacher said; through the same codec a batch's loss from the "
        f"store and from the teacher asked anew differ by {apart:.0e} at most (1e-6 allowed).",
    )  # fmt: skip


def _stored(found: Mapping[str, Any]) -> Iterator[str]:
    def what(line: Mapping[str, Any]) -> str:
        over = line["teacher_over_student"]
        return f"{line['objectives']}; the teacher's forward pass {over['forward']:.1f} times the student's, its parameters {over['parameters']:.1f} times"

    def lines() -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
        for line in found["lines"]:
            target = found["targets"][line["objectives"]]
            yield line["student"], what(line), line, _target(target, line["times"]["value"] >= target)

    return _table("from the store over online", lines())


def _over(kind: str, *, at_most: bool = False) -> Any:
    def rows(found: Mapping[str, Any]) -> Iterator[str]:
        def lines() -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
            for line in found["lines"]:
                times, target = line["times"], found["target"]
                reached = times["high"] <= target if at_most else times["value"] >= target
                yield line["student"], line.get("work", "logits"), line, _target(target, reached, "upper end <=" if at_most else ">=")

        return _table(kind, lines())

    return rows


def _peer(name: str, words: str) -> Any:
    return lambda found: _claim(found, f"training_peers.py {name}", f"{name} {found['version']}; {words}")


TRAINING: Mapping[str, tuple[Any, Any]] = {
    "store": (_from_store, _stored),
    "textbrewer": (_peer("textbrewer", "dynamic padding, the fused AdamW, clipping and schedule as ours. Pairs are epochs."), _over("over TextBrewer")),
    "torchdistill": (_peer("torchdistill", "`KDLoss` in a `DistillationBox`, dynamic padding, the fused AdamW. Pairs are epochs."), _over("over torchdistill")),
    "padding": (lambda found: _claim(found, "training.py padding", "Logits from the store on both sides. Pairs are epochs."), _over("over padding to 128")),
    "sentence-transformers": (
        _peer("sentence-transformers", "`MSELoss` on embeddings, computed before, against our logits from the store: the same body. Pairs are epochs."),
        _over("over its trainer"),
    ),
    "loop": (
        lambda found: _claim(found, "training.py loop", "The same batches, forward pass, loss, clipping, fused AdamW and schedule by hand. Pairs are steps."),
        _over("ours over bare PyTorch", at_most=True),
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------- what ships, and peers
def _met(value: float, target: float) -> str:
    return "yes" if value >= target else "**no**"


def _bundle(found: Mapping[str, Any]) -> Iterator[str]:
    ratio, rate, big, target = (found[part] for part in ("throughput", "texts_per_cpu_s", "bytes", "targets"))
    yield "## BERT base's shape, and the bundle that ships for it"
    yield ""
    tokens = f"median {found['tokens']['median']} tokens, longest {found['tokens']['longest']}"
    yield f"`python benchmarks/bundle.py --from DIR`: {found['rounds']} alternated rounds of {found['texts']} of SST-2's test sentences ({tokens}),"
    yield f"CPU time on one thread; {found['machine']['cpu']}. The teacher: {found['teacher_parameters'] / 1e6:.0f}M parameters with random weights, PyTorch,"
    yield "fp32, batches of 32 in file order padded to the longest. The bundle: a student of 4 layers, 312 wide, from nothing, one epoch,"
    yield f"{found['parameters'] / 1e6:.1f}M parameters, {found['precision']}, the vocabulary of SST-2's training sentences, its own predictor. Both tokenize."
    yield f"Bytes: the teacher's weights and tokenizer; every file of the bundle, {found['tokenizer_bytes'] / 1e6:.2f} MB of it the tokenizer. The student's"
    yield f"accuracy, {found['accuracy']:.3f}, is no claim."
    yield ""
    yield "| | teacher | bundle | ratio | target | met |"
    yield "|---|---|---|---|---|---|"
    times = f"{ratio['value']:.1f} [{ratio['low']:.1f}, {ratio['high']:.1f}] | >= {target['throughput']} | {_met(ratio['low'], target['throughput'])}"
    yield f"| texts a CPU second | {rate['teacher']:,.1f} | {rate['bundle']:,.0f} | {times} |"
    sizes = f"{big['teacher'] / 1e6:,.1f} MB | {big['bundle'] / 1e6:.1f} MB"
    yield f"| bytes | {sizes} | {found['bytes_ratio']:.1f} | >= {target['bytes']} | {_met(found['bytes_ratio'], target['bytes'])} |"


def _ngram(found: Mapping[str, Any]) -> Iterator[str]:
    speed, mean = found["speed"], found["difference"]
    options = ", ".join(f"{name} {value}" for name, value in found["student"].items()) or "at its defaults"
    yield "## The n-gram student beside model2vec"
    yield ""
    yield f"`python benchmarks/ngram.py --from DIR`: ours ({options}) learns from a fine-tuned MiniLM and gold labels; model2vec {found['model2vec']} distils"
    yield "MiniLM (`distill(MODEL)`: 256 dimensions, SIF) and trains vectors and head"
    yield "(`StaticModelForClassification.from_static_model(model=..., n_layers=...).fit(...)`), on the gold labels or on these and the teacher's hard labels"
    yield "of all rows that ours learns from; of its four variants the best on validation stands here. Accuracy on the test rows, one seed; differences"
    yield "in points, test rows resampled in pairs within each set."
    yield ""
    yield "| set | test rows | teacher | ours | its control | model2vec | learnt from | difference | from model2vec on gold alone |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, line in found["sets"].items():
        control = "-" if line["control"] is None else f"{line['control']:.3f}"
        shown = f"{line['teacher']:.3f} | {line['ours']:.3f} | {control} | {line['peer']:.3f} | {line['chosen']}"
        yield f"| {name} | {line['test']:,} | {shown} | {_points(line['difference'])} | {_points(line['against_gold_alone'])} |"
    yield ""
    yield "| | ours | model2vec | | target | met |"
    yield "|---|---|---|---|---|---|"
    own = sum(line["ours"] for line in found["sets"].values()) / len(found["sets"])
    peer = sum(line["peer"] for line in found["sets"].values()) / len(found["sets"])
    missing = "" if len(found["sets"]) == 6 else f" of {len(found['sets'])} sets"
    yield f"| mean accuracy{missing} | {own:.3f} | {peer:.3f} | {_points(mean)} | lower bound > 0 | {'yes' if mean['low'] > 0 else '**no**'} |"
    ratio, rate = speed["ratio"], speed["texts_per_cpu_s"]
    times = f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] times"
    yield f"| texts a CPU second | {rate['ours']:,.0f} | {rate['peer']:,.0f} | {times} | >= 3 | {_met(ratio['low'], 3)} |"


# --------------------------------------------------------------------------------------------------------- the verdict
def _simulated(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## How often the verdict is wrong"
    yield ""
    yield f"`python benchmarks/simulate_verdict.py`: {found['draws']:,} simulated test sets of each situation, {found['confidence']:.0%} confidence. A false"
    yield "ship is a student truly at the edge of what is allowed (or worse) that ships; the bound is the 99 % lower one of its rate. Power is how often a"
    yield "student ships with the number of rows that `rows_needed` gave, 80 % promised; the bound there is the half-width of the 99 % interval."
    by_claim: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in found["lines"]:
        by_claim[line["claim"]].append(line)
    for claim, lines in by_claim.items():
        yield ""
        yield f"| {claim} | n | draws | shipped | bound | promised | holds |"
        yield "|---|---|---|---|---|---|---|"
        for line in lines:
            holds = "yes" if line["holds"] else "**no**"
            rates = f"{line['shipped']:.1%} | {line['bound']:.1%} | {line['promised']:.0%}"
            yield f"| {line['situation']} | {line['n']:,} | {line['draws']:,} | {rates} | {holds} |"


def _cascade(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## How often a cascade's policy misses its risk"
    yield ""
    risk, sure, may = f"{found['risk']:.0%}", f"{found['confidence']:.0%}", f"{1 - found['confidence']:.0%}"
    yield f"`python benchmarks/simulate_cascade.py`: {found['draws']:,} simulated sets of calibration rows of each situation (of labels: a quarter); at"
    yield f"most {risk} of the answers not passed on may be wrong, at {sure} confidence, so that at most {may} of draws may miss it; the bound is"
    yield "the 99 % lower one of the rate of misses. Naive: the lowest threshold that meets the risk on the rows themselves. Times: the mean share passed"
    yield "on over that of an oracle, who knows how often each answer is wrong; a draw that can certify nothing passes all on, and counts. The targets are"
    yield "of the first world alone."
    yield ""
    yield "| world | n | missed | bound | naive | passed on | oracle | times | target | all passed on |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for line in found["lines"]:
        naive = "-" if line["naive"] is None else f"{line['naive']:.0%}"
        target = "-" if line["target"] is None else f"{line['target']:g}" + ("" if line["near"] else ", **missed**")
        bound = f"{line['bound']:.1%}" + ("" if line["holds"] else ", **too high**")
        shares = f"{line['passed_on']:.1%} | {line['oracle']:.1%} | {line['times']:.2f}"
        yield f"| {line['world']} | {line['n']:,} | {line['missed']:.1%} | {bound} | {naive} | {shares} | {target} | {line['all_passed_on']:.0%} |"


# ------------------------------------------------------------------------------------------------------- augmentation
def _masked(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Masked substitution, batched"
    yield ""
    yield f"`python benchmarks/augment.py`: {found['pairs']} alternated pairs of {found['texts']} ICD-10-CM texts, a BERT of MiniLM's shape, CPU time on"
    yield f"one thread; {found['share']:.0%} of the words, {found['top_k']} proposals. Copies of one text share their proposals on both sides. Every word: as"
    yield "TinyBERT's algorithm 1 is written, each word is masked, drawn or not; drawn words: the other side too asks only about words that it will replace."
    yield ""
    yield "| copies | one forward for | times as fast | copies equal, word for word |"
    yield "|---|---|---|---|"
    for line in found["lines"]:
        words = "every word" if line["every_word"] else "drawn words"
        yield f"| {line['copies']} | {words} | {line['ratio']:.1f} [{line['low']:.1f}, {line['high']:.1f}] | {line['equal_copies']:.1%} |"


def _tinybert(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## The TinyBERT line: a language model of 135M parameters into an eighth of them"
    yield ""
    yield "`python benchmarks/tinybert_line.py " + " ".join(sets) + " --from DIR --arms layers,ngram`: SmolLM2-135M, fine-tuned on at most 2,000 gold rows; the"
    yield "other training rows are a pool, their labels thrown away. *layers*: its first three layers and the tokens that the rows use. Accuracy is the mean"
    yield "over the seeds; differences in points, rows and seeds resampled together; the gain over control of the seed that validation chose. Asked for:"
    yield "13.3 % of the parameters, retention 96.8 % on each set and 98 % in the mean, 9.4 times the speed in fp32 and 20 times as shipped."
    yield ""
    yield "| set | gold, pool, test | teacher | student | accuracy | drop | retention | gain over control | teacher over it | parameters | fp32 | shipped |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for name, found in sets.items():
        data, whole = found["data"], found["teacher"]["quality"]["accuracy"]
        rows = f"{data['train']:,}, {data['unlabeled']:,}, {data['test']:,}"
        for student in found["students"]:
            mean, speed = student["over_seeds"], [student[part]["throughput"]["value"] for part in ("speedup_fp32", "speedup")]
            cells = (
                name, rows, f"{whole:.3f}", f"{student['name']} ({student['precision']})", f"{mean['quality']['value']:.3f}", _points(mean["quality_drop"]),
                f"{mean['quality']['value'] / whole:.1%}", _points(student["control"]["gain"]), _points(student["teacher_over_control"]),
                f"{student['share_of_parameters']:.1%}", *(f"{times:,.1f}x" for times in speed),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"


def _ablations(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "## What each choice is worth"
    yield ""
    yield "`python benchmarks/ablations.py trec icd --from DIR`: a MiniLM, fine-tuned, into three of its layers; differences in points of accuracy"
    yield "from the line *default*, rows and seeds resampled together; students as trained, in fp32. The same test rows were looked at for every line."
    yield ""
    for found in sets.values():
        seeds = ", ".join(map(str, found["seeds"]))
        yield f"**{found['title']}**: {found['gold']:,} gold rows, {found['pool']:,} in the pool, {found['test']:,} test rows, seeds {seeds};"
        yield f"teacher {found['teacher']:.3f}."
        yield ""
        yield "| choice | accuracy | difference |"
        yield "|---|---|---|"
        for arm, line in found["arms"].items():
            by_seed = ", ".join(f"{value:.3f}" for value in line["accuracy"])
            yield f"| {line['what']} | {by_seed} | {'-' if arm == 'default' else _points(line['difference'])} |"
        yield ""


# -------------------------------------------------------------------------------------------------------------- traps
def _traps(found: Mapping[str, Any]) -> Iterator[str]:
    tools = list(found["versions"])
    yield "## Traps that other tools share"
    yield ""
    yield f"`python benchmarks/traps.py`, torch {found['torch']}: one small check each, the same for all, through each tool's public interface at the"
    yield "settings that it documents; an option or a use that changes the verdict is named. The list, numbered as in `tests/traps`, is"
    yield "the one that potstill was built against: its own column says that it keeps to the list, not that it has no other traps. In row 1 logits"
    yield "come in bf16, as a bf16 model gives them; by PyTorch's documentation autocast on a GPU takes softmaxes to float32 (not run here)."
    yield ""
    yield "| | trap | " + " | ".join(f"{tool} {version}" for tool, version in found["versions"].items()) + " |"
    yield "|---" * (2 + len(tools)) + "|"
    for line in found["rows"]:
        verdicts = [line["tools"][tool]["verdict"] for tool in tools]
        cells = [verdict.replace("falls in", "**falls in**") if verdict != "no such part" else "-" for verdict in verdicts]
        yield f"| {line['row']} | {line['trap']} | {' | '.join(cells)} |"
    yield ""
    yield "A dash: no such part. What was seen:"
    yield ""
    for line in found["rows"]:
        yield f"- **{line['row']}, {line['trap']}**"
        for tool in tools:
            seen: dict[str, list[str]] = defaultdict(list)
            for evidence in line["tools"][tool]["evidence"]:
                seen[evidence["seen"]].append(evidence["setting"])
            if seen:
                yield f"    - {tool}: " + "; ".join(f"{' and '.join(f'*{name}*' for name in settings)}: {what}" for what, settings in seen.items())
    yield ""
    yield "Numbers that are not here:"
    yield ""
    yield from (f"- {rows}: {why}" for rows, why in found["left_out"].items())


def main(arguments: list[str]) -> int:
    made = page()
    if "--check" in arguments:
        return int(not PAGE.is_file() or PAGE.read_text("utf-8") != made)
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
