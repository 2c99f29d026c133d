"""What ships and what labels, beside others that do the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import say


def labelling(found: Mapping[str, Any]) -> Iterator[str]:
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


def bundle(found: Mapping[str, Any]) -> Iterator[str]:
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
    times = f"{ratio['value']:.1f} [{ratio['low']:.1f}, {ratio['high']:.1f}] | >= {target['throughput']} | {say.met(ratio['low'], target['throughput'])}"
    yield f"| texts a CPU second | {rate['teacher']:,.1f} | {rate['bundle']:,.0f} | {times} |"
    sizes = f"{big['teacher'] / 1e6:,.1f} MB | {big['bundle'] / 1e6:.1f} MB"
    yield f"| bytes | {sizes} | {found['bytes_ratio']:.1f} | >= {target['bytes']} | {say.met(found['bytes_ratio'], target['bytes'])} |"


def ngram(found: Mapping[str, Any]) -> Iterator[str]:
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
        yield f"| {name} | {line['test']:,} | {shown} | {say.points(line['difference'])} | {say.points(line['against_gold_alone'])} |"
    yield ""
    yield "| | ours | model2vec | | target | met |"
    yield "|---|---|---|---|---|---|"
    own = sum(line["ours"] for line in found["sets"].values()) / len(found["sets"])
    peer = sum(line["peer"] for line in found["sets"].values()) / len(found["sets"])
    missing = "" if len(found["sets"]) == 6 else f" of {len(found['sets'])} sets"
    yield f"| mean accuracy{missing} | {own:.3f} | {peer:.3f} | {say.points(mean)} | lower bound > 0 | {'yes' if mean['low'] > 0 else '**no**'} |"
    ratio, rate = speed["ratio"], speed["texts_per_cpu_s"]
    times = f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] times"
    yield f"| texts a CPU second | {rate['ours']:,.0f} | {rate['peer']:,.0f} | {times} | >= 3 | {say.met(ratio['low'], 3)} |"


def masked(found: Mapping[str, Any]) -> Iterator[str]:
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
