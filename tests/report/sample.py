"""Reports as runs write them: one that ships, one without a requirement, one without gold, one that can't tell, one that must not ship.

Numbers are made up, of a size that was seen; they hang together (a drop is a difference of the qualities beside it).
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np

N = 3412
LABELS = (
    "Certain infectious and parasitic diseases", "Neoplasms", "Diseases of the blood", "Endocrine, nutritional and metabolic diseases",
    "Mental and behavioral disorders", "Diseases of the nervous system", "Diseases of the eye and adnexa", "Diseases of the ear",
    "Diseases of the circulatory system", "Diseases of the respiratory system", "Diseases of the digestive system", "Diseases of the skin",
)  # fmt: skip
TEXTS = (
    "Adverse effect of other antidysrhythmic drugs, initial encounter", "Unspecified open wound of left front wall of thorax",
    "Ménière’s disease, bilateral", "Papilloedema associated with decreased ocular pressure", "Myasthenia gravis with (acute) exacerbation",
    "Nontraumatic subarachnoid hemorrhage from unspecified carotid siphon and bifurcation", "Chronic gout due to renal impairment, right hip, without tophus",
    "Malignant neoplasm of overlapping sites of colon", "Other specified congenital malformations of lacrimal apparatus",
)  # fmt: skip
# name, kind, parameters, bytes, accuracy, drop low and high, control accuracy, agreement, p50, p95, p99, rows/s, start, memory
HALF = ("half", "transformer", 17_402_000, 18_430_112, 0.7981, -0.0021, 0.0143, 0.7611, 0.9012, 1.92, 2.61, 3.4, 905.0, 0.41, 112_000_000)
STATIC = ("static", "static", 7_905_000, 8_202_330, 0.7612, 0.0318, 0.0541, 0.7388, 0.8419, 0.071, 0.104, 0.19, 31_200.0, 0.19, 84_000_000)
NGRAM = ("ngram", "ngram", 8_390_000, 8_711_002, 0.7503, 0.0421, 0.0656, 0.7342, 0.8203, 0.058, 0.093, 0.21, 28_700.0, 0.09, 71_000_000)
TEACHER_ACCURACY = 0.8042
FLOOR_ACCURACY = 0.7215


def figure(value: float, low: float, high: float, n: int, method: str = "") -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n, "method": method}


def wilson(p: float, n: int = N) -> dict[str, Any]:
    z = 1.96
    center, reach = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return figure(p, center - reach, center + reach, n, "Wilson")


def qualities(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "macro_f1": accuracy - 0.021, "mcc": accuracy - 0.014, "log_loss": 1.62 * (1 - accuracy) + 0.31}


def reliability(accuracy: float, shift: float) -> list[dict[str, float]]:
    confidence = np.clip(np.linspace(0.31, 0.998, 15) ** 0.8, 0, 1)
    right = np.clip(confidence - shift * np.sin(np.linspace(0, np.pi, 15)) + 0.01 * np.cos(np.arange(15) * 2.4), 0, 1)
    return [{"confidence": round(float(c), 4), "accuracy": round(float(r), 4), "n": N // 15} for c, r in zip(confidence, right)]


def curve(steps: int, best: float, start: float) -> list[list[float]]:
    at = [round(steps * k / 8) for k in range(1, 9)]
    return [
        [s, round(2.6 * math.exp(-2.2 * k / 8) + 0.2, 4), round(best - (best - start) * math.exp(-3.4 * k / 8) - (0.003 if k == 8 else 0), 4)]
        for k, s in enumerate(at, 1)
    ]


def speeds(p50: float, p95: float, p99: float | None, rate: float, start: float, memory: int, n: int) -> dict[str, Any]:
    found = {"p50": p50, "p95": p95, "p99": p99}
    intervals = {name: None if v is None else {"value": v, "low": 0.96 * v, "high": 1.07 * v, "n": n} for name, v in found.items()}
    return {
        "latency_ms": found, "latency_intervals": intervals, "throughput_per_s": rate, "peak_memory_bytes": memory, "energy_j_per_1000": None,
        "start_s": start, "batch_size": 32,
    }  # fmt: skip


def flips(name: str) -> dict[str, Any]:
    def row(i: int, teacher: int, student: int, gold: int) -> dict[str, Any]:
        text = TEXTS[i % len(TEXTS)]
        return {
            "id": f"{i:064x}",
            "place": f"test.jsonl:{71 * i + 8}",
            "text": text,
            "gold": LABELS[gold],
            "teacher": LABELS[teacher],
            "student": LABELS[student],
        }

    harmful = [row(i, i % 12, (i + 3) % 12, i % 12) for i in range(6)]
    beneficial = [row(i, (i + 5) % 12, i % 12, i % 12) for i in range(6, 11)]
    return {"harmful": harmful, "beneficial": beneficial, "counts": {"harmful": 187, "beneficial": 166}}


def slices(drop: float) -> list[dict[str, Any]]:
    values = [("label", label, 90 + 31 * i) for i, label in enumerate(LABELS)] + [
        ("length", words, 853) for words in ("9-27 characters", "28-41 characters", "42-63 characters", "64-228 characters")
    ]
    found = []
    for i, (column, value, n) in enumerate(values):
        here = drop + 0.055 * math.sin(2.1 * i)
        found.append(
            {
                "column": column,
                "value": value,
                "n": n,
                "quality": 0.8042 - here,
                "teacher": 0.8042,
                "drop": figure(here, here - 1.1 / math.sqrt(n), here + 1.2 / math.sqrt(n), n),
            }
        )
    return sorted(found, key=lambda row: -row["drop"]["value"])


ARMS = {"typos": 0.041, "upper_case": 0.0, "whitespace": 0.002, "truncation": 0.112, "out_of_domain": 0.09}
DREW = 500


def robust(accuracy: float, more: float, *, teacher: bool = False) -> list[dict[str, Any]]:
    """Return what changed texts cost: a model loses by ``more`` what its teacher does, times the change."""

    def entry(arm: str, lost: float) -> dict[str, Any]:
        own, taught = figure(lost * more, lost * more - 0.021, lost * more + 0.023, DREW), figure(lost, lost - 0.02, lost + 0.02, DREW)
        difference = None if teacher else figure(lost * (more - 1), lost * (more - 1) - 0.024, lost * (more - 1) + 0.026, DREW)
        return {
            "arm": arm, "n": DREW, "unchanged": 0, "clean": accuracy, "value": accuracy - lost * more, "loss": own,
            "teacher_loss": None if teacher else taught, "difference": difference, "stands_out": None if teacher else difference["low"] > 0,
            "flips": figure(lost + 0.03, lost + 0.01, lost + 0.05, DREW), "agreement": None if teacher else {"agreement": 0.86, "low": 0.83, "high": 0.89},
            "confidence": 0.71, "confidence_clean": 0.78, "few_groups": False,
        }  # fmt: skip

    return [entry(arm, lost) for arm, lost in ARMS.items()]


def changed() -> dict[str, Any]:
    """Return how the texts were changed."""
    arms = [{"arm": arm, "n": DREW, "unchanged": 0, "example": {"before": TEXTS[1], "after": f"\t{TEXTS[1].upper()}  \n"}} for arm in ARMS]
    arms.insert(2, {"arm": "lower_case", "n": 0, "unchanged": DREW, "example": None})
    return {"rows": DREW, "reference": "gold", "metric": "accuracy", "unasked": "", "arms": arms}


def checks(quality: tuple[float, float, float, str], p95: float, speedup: float, size: int) -> list[dict[str, Any]]:
    value, low, high, status = quality

    def check(name: str, required: float, value: float, low: float, high: float, n: int, status: str, unit: str, note: str) -> dict[str, Any]:
        return {"name": name, "required": required, "value": value, "low": low, "high": high, "n": n, "status": status, "unit": unit, "note": note}

    return [
        check("quality", 0.02, value, low, high, 214, status, "drop in accuracy", "cluster-robust t interval over groups"),
        check("latency_p95_ms", 10, p95, 0.96 * p95, 1.07 * p95, 1000, "pass", "ms", "order statistics"),
        check("speedup", 4, speedup, 0.95 * speedup, 1.05 * speedup, 8, "pass", "times", "t interval of paired rounds' logarithms"),
        check("size_mb", 25, size / 1e6, size / 1e6, size / 1e6, 1, "pass" if size < 25e6 else "fail", "MB", "exact"),
    ]


def rung(precision: str, size: float, score: float, loss: float, kept: bool, why: str) -> dict[str, Any]:
    method, agreement = ("fp32", 1.0) if precision == "fp32" else ("weights and products", 0.985)
    return {
        "precision": precision, "method": method, "size_bytes": size, "score": score, "loss": loss, "agreement": agreement, "kept": kept, "why": why
    }  # fmt: skip


def student(row: tuple[Any, ...], *, status: str, meets: bool | None, tested: bool = True) -> dict[str, Any]:
    name, kind, parameters, size, accuracy, low, high, control, agreement, p50, p95, p99, rate, start, memory = row
    drop, steps = TEACHER_ACCURACY - accuracy, 1780 if kind == "transformer" else 5340
    return {
        "name": name, "kind": kind, "parameters": parameters, "size_bytes": size,
        "artifact": {"path": f"students/{name}/artifact", "precision": "int8", "sha256": "5e" * 32},
        "before_export": {"quality": {"accuracy": accuracy + 0.0012}, "on": "validation"},
        "quality": qualities(accuracy), "quality_intervals": {"accuracy": wilson(accuracy)},
        "quality_drop": figure(drop, low, high, 214, "cluster-robust t interval over groups"),
        "retention": figure(accuracy / TEACHER_ACCURACY, 1 - high / TEACHER_ACCURACY, 1 - low / TEACHER_ACCURACY, 214, "BCa bootstrap over groups"),
        "fidelity": {"agreement": agreement, "low": agreement - 0.011, "high": agreement + 0.01, "n": N, "kl": 0.19},
        "calibration": {"ece": 0.021 if kind == "transformer" else 0.034, "reliability": reliability(accuracy, 0.03 if kind == "transformer" else 0.06)},
        **speeds(p50, p95, p99, rate, start, memory, 1000),
        "speedup": {
            "throughput": {"value": rate / 127, "low": 0.95 * rate / 127, "high": 1.05 * rate / 127, "n": 8},
            "latency_p95": {"value": 20.4 / p95, "low": 18.6 / p95, "high": 22.0 / p95, "n": 1000},
        },
        "compression": 90_900_000 / size,
        "control": {
            "quality": qualities(control), "quality_intervals": {"accuracy": wilson(control)},
            "gain": figure(accuracy - control, accuracy - control - 0.012, accuracy - control + 0.0118, 214),
            "seed": 0, "curve": curve(steps, control + 0.004, 0.41), "steps": steps, "robustness": robust(control, 1.1),
        },
        "gain_floor": figure(accuracy - FLOOR_ACCURACY, accuracy - FLOOR_ACCURACY - 0.0127, accuracy - FLOOR_ACCURACY + 0.0131, 214),
        "robustness": robust(accuracy, 1.9 if kind == "ngram" else 1.02), "slices": slices(drop), "flips": flips(name), "rounds": [{"labels": 7000, "quality": accuracy + 0.004, "usd": 0.0}],
        "by_seed": [{"seed": 0, "quality": qualities(accuracy), "validation": accuracy + 0.004, "chosen": True}],
        "parity": {"max_abs_diff": 1.9e-06, "label_flips": 0, "n": 72},
        "checks": checks((drop, low + 0.0006, high - 0.0006, status), p95, rate / 127, size)[0 if tested else 1 :],
        "meets": meets, "tested": tested, "rows_needed": None, "curve": curve(steps, accuracy + 0.006, 0.48), "steps": steps, "stopped_early": False,
        "rows": 9514, "left_out": [] if kind == "transformer" else ["hidden"], "seed": 0, "temperature": 1.18, "train_seconds": 71.3,
        "validation_score": accuracy + 0.004,
        "ladder": [
            rung("fp32", 3.8 * size, accuracy + 0.0052, 0.0, False, "int8 passes the gate and is smaller"),
            rung("int8", size, accuracy + 0.004, 0.0012, True, "loses 0.0012 on validation, 0.005 is allowed"),
        ],
    }  # fmt: skip


def ship() -> dict[str, Any]:
    """Return the report of a run whose transformer ships."""
    by_label = {
        split: {label: n // 12 + 7 * i for i, label in enumerate(LABELS)}
        for split, n in (("train", 2514), ("validation", 1180), ("calibration", 1160), ("test", N))
    }
    return copy.deepcopy({
        "schema": 1, "potstill": "0.1.0", "task": "text-classification", "name": "icd-chapters", "created": "2026-11-24T06:12:09Z", "seeds": [0],
        "metric": "accuracy",
        "machine": {
            "cpu": "AMD EPYC 7B13", "cores": 2, "threads": 2, "memory_bytes": 8_353_000_000, "devices": ["cpu"], "precision": ["int8"],
            "versions": {"python": "3.11.7", "numpy": "2.4.6", "onnxruntime": "1.32.0", "torch": "2.13.0+cpu", "transformers": "5.23.0"},
        },
        "data": {
            "train": 2514, "validation": 1180, "calibration": 1160, "test": N, "unlabeled": 7000, "dropped": {"empty text": 3, "invalid UTF-8": 1}, "leaks": 4,
            "duplicates": {"exact": 12, "near": 31}, "test_reads": 1, "alpha": 0.04, "labels": list(LABELS), "by_label": by_label, "missing_labels": {},
            "groups": {"train": 1210, "validation": 71, "calibration": 69, "test": 214, "unlabeled": 1344}, "straddling_groups": 0,
            "length": {"test": {"q0": 5, "q5": 17, "q50": 44, "q95": 102, "q100": 228}, "train": {"q0": 4, "q5": 16, "q50": 43, "q95": 101, "q100": 211}},
            "license": "public domain (ICD-10-CM)",
            "sources": [{"split": split, "file": f"{split}.jsonl", "sha256": "a4" * 32, "rows": n} for split, n in (("train", 2530), ("test", N))],
        },
        "teacher": {
            "name": "all-MiniLM-L6-v2", "kind": "model", "identity": "53ed2f69" * 8, "parameters": 22_721_000, "size_bytes": 90_900_000,
            "quality": qualities(TEACHER_ACCURACY), "quality_intervals": {"accuracy": wilson(TEACHER_ACCURACY)},
            "quality_validation": qualities(0.8094), "ceiling": None,
            **speeds(16.8, 20.4, None, 127.0, 3.9, 611_000_000, 200), "cost": {"usd_per_million": 0.0}, "license": "apache-2.0", "output_license": "apache-2.0",
            "robustness": robust(TEACHER_ACCURACY, 1.0, teacher=True), "unanswered": 0, "precision": "fp32", "calibration": {"ece": 0.061, "reliability": reliability(TEACHER_ACCURACY, 0.09)},
        },
        "students": [
            student(HALF, status="pass", meets=True), student(STATIC, status="fail", meets=False),
            student(NGRAM, status="pass", meets=None, tested=False),
        ],
        "baselines": [
            {"name": "majority", "quality": qualities(0.1182), "size_bytes": 0, "throughput_per_s": None},
            {
                "name": "TF-IDF + linear", "quality": qualities(FLOOR_ACCURACY), "quality_intervals": {"accuracy": wilson(FLOOR_ACCURACY)},
                "size_bytes": 5_120_000, "throughput_per_s": None, "robustness": robust(FLOOR_ACCURACY, 0.8),
            },
        ],
        "frontier": [], "comparisons": [], "robustness": changed(),
        "requirement": {"quality": {"metric": "accuracy", "max_drop": 0.02, "confidence": 0.95}, "latency_p95_ms": 10, "speedup": 4, "size_mb": 25},
        "registered": {"hash": "caa311ef" * 8, "time": "2026-11-24T06:11:40Z"},
        "verdict": {
            "decision": "ship", "student": "half", "alpha": 0.04, "read": 1, "rows_needed": None,
            "reasons": [
                "half meets every line of the requirement, and is the smallest that does (18.4 MB): drop in accuracy 0.0061 "
                "(bounds -0.0015 to 0.0137), allowed 0.02: pass",
                "static: drop in accuracy 0.043 (bounds 0.0324 to 0.0535), allowed 0.02: fail",
                "ngram was not tested: the sequence stopped at a student before it that was not shown to be good enough",
            ],
            "advice": ["keep the teacher behind it, and watch its agreement with the teacher in production"],
        },
        "cost": {
            "teacher_calls": 15_266, "cached_calls": 4854, "possibly_paid": 0, "tokens_in": 0, "tokens_out": 0, "usd": 0.0,
            "seconds": {
                "data": 2.1, "adapt": 88.2, "measure": 14.0, "label": 61.9, "train.half.distilled.0": 71.3, "train.half.control.0": 66.0,
                "export.half.distilled.0": 6.2, "speed": 34.7, "test": 4.4,
            },
            "last": {"teacher_calls": 15_266, "cached_calls": 4854},
        },
        "bundle": "bundle", "fingerprint": "c6d5a3fc" * 8,
        "licenses": {"data": "public domain (ICD-10-CM)", "teacher weights": "apache-2.0", "teacher outputs": "apache-2.0"},
        "command": "potstill run runs/icd-chapters/recipe.yaml --output runs/icd-chapters",
        "limits": ["teacher: no p99, which takes 1,000 single calls", "energy: no energy meter can be read on this machine"],
        "notes": ["static and ngram answer 200 times as fast as the teacher, and lose 4 to 5 points for it"],
        "unmeasured": {"energy": "no energy meter can be read on this machine", "ceiling": "no second annotator"},
    })  # fmt: skip


def no_requirement() -> dict[str, Any]:
    """Return the report of a run without a requirement."""
    made = ship()
    made.update(requirement=None, notes=[])
    made["verdict"] = {
        "decision": None, "student": None, "rows_needed": None, "reasons": ["no requirement was stated, so there is nothing to decide"],
        "advice": ["state one: requirement: {quality: {max_drop: 0.02}}"],
    }  # fmt: skip
    for one in made["students"]:
        one.update(checks=[], meets=None, tested=False)
    return made


def no_gold() -> dict[str, Any]:
    """Return the report of a run of recorded answers without gold labels: quality is null, the verdict rests on fidelity."""
    made = ship()
    nothing = {"latency_ms": None, "latency_intervals": None, "throughput_per_s": None, "peak_memory_bytes": None, "energy_j_per_1000": None, "start_s": None}
    made["teacher"].update(
        kind="recorded",
        name="answers-2026",
        parameters=None,
        size_bytes=None,
        quality=None,
        quality_intervals=None,
        quality_validation=None,
        calibration=None,
        robustness=[],
        **nothing,
    )
    made["robustness"].update(reference="teacher", unasked="a recorded teacher can't be asked about changed texts")
    for one in made["students"]:
        one.update(
            quality=None,
            quality_intervals=None,
            quality_drop=None,
            retention=None,
            control=None,
            gain_floor=None,
            calibration=None,
            slices=[],
            flips=None,
            by_seed=[],
            speedup=None,
            compression=None,
        )
        for entry in one["robustness"]:
            entry.update(teacher_loss=None, difference=None, stands_out=None, agreement=None)
        one["robustness"][-1].update(clean=None, value=None, loss=None, flips=None, agreement={"agreement": 0.71, "low": 0.66, "high": 0.76})
        agreement = one["fidelity"]["agreement"]
        status = "pass" if agreement > 0.9 else "fail"
        fidelity = {
            "name": "fidelity",
            "required": 0.12,
            "value": 1 - agreement,
            "low": 1 - agreement - 0.009,
            "high": 1 - agreement + 0.009,
            "n": N,
            "status": status,
            "unit": "disagreement",
            "note": "exact binomial",
        }
        speedup = {
            "name": "speedup",
            "required": 4,
            "value": None,
            "low": None,
            "high": None,
            "n": None,
            "status": "inconclusive",
            "unit": "times",
            "note": "the teacher can't be timed here",
        }
        one.update(checks=[fidelity, speedup], meets=None if status == "pass" else False, tested=True)
    made.update(notes=[], baselines=[], requirement={"fidelity": {"metric": "agreement", "max_disagreement": 0.12, "confidence": 0.95}, "speedup": 4})
    made["verdict"].update(decision="inconclusive", student=None, reasons=["half: speedup: the teacher can't be timed here: inconclusive"], advice=[])
    made["data"].update(by_label={}, labels=[])
    reason = "there is no gold in validation and test"
    made["unmeasured"] = {"quality": reason, "control": reason, "retention": reason, "speedup": "the teacher's answers are recorded"}
    made["limits"] = [f"{reason}: the verdict rests on fidelity"]
    return made


def inconclusive() -> dict[str, Any]:
    """Return the report of a run with too few test rows."""
    made = ship()
    made["data"].update(test=500, test_reads=2, alpha=0.005)
    for one, status, meets in zip(made["students"], ("inconclusive", "pass", "pass"), (None, None, None)):
        one.update(meets=meets, tested=status == "inconclusive", rows_needed=1890 if status == "inconclusive" else None)
        one["checks"] = checks((0.0061, -0.021, 0.0332, status), one["latency_ms"]["p95"], one["speedup"]["throughput"]["value"], one["size_bytes"])[
            0 if status == "inconclusive" else 1 :
        ]
    made["verdict"].update(
        decision="inconclusive", student=None, rows_needed=1890, alpha=0.005, read=2,
        reasons=["half: drop in accuracy 0.0061 (bounds -0.021 to 0.0332), allowed 0.02: inconclusive"],
        advice=["about 1,890 test rows would decide in 80 % of cases; there are 500"],
    )  # fmt: skip
    return made


def do_not_ship() -> dict[str, Any]:
    """Return the report of a run in which every student fails."""
    made = ship()
    made["students"] = [student(STATIC, status="fail", meets=False), student(NGRAM, status="fail", meets=False)]
    made["verdict"].update(
        decision="do-not-ship", student=None,
        reasons=[
            "static: drop in accuracy 0.043 (bounds 0.0324 to 0.0535), allowed 0.02: fail",
            "ngram: drop in accuracy 0.054 (bounds 0.0427 to 0.065), allowed 0.02: fail",
        ],
        advice=["more of the pool for the teacher to label, a larger student, or more epochs bring a student closer to its teacher"],
    )  # fmt: skip
    return made


SAMPLES = {"ship": ship, "no_requirement": no_requirement, "no_gold": no_gold, "inconclusive": inconclusive, "do_not_ship": do_not_ship}


def bare() -> dict[str, Any]:
    """Return a report of CONTRACT's keys alone, with all that may be null null."""
    made = json.loads(json.dumps(ship()))
    keep = {"name", "kind", "parameters", "size_bytes", "artifact"}
    for one in made["students"]:
        for key in set(one) - keep:
            one[key] = [] if isinstance(one[key], list) else None
    for key in ("metric", "licenses", "command", "limits", "notes", "unmeasured", "robustness"):
        made.pop(key)
    for key in (
        "quality",
        "quality_intervals",
        "quality_validation",
        "latency_ms",
        "latency_intervals",
        "calibration",
        "throughput_per_s",
        "cost",
        "size_bytes",
        "robustness",
    ):
        made["teacher"][key] = None
    made.update(requirement=None, registered=None, bundle=None, baselines=[])
    made["verdict"] = {"decision": None, "student": None, "reasons": [], "advice": [], "rows_needed": None}
    return made
