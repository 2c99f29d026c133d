"""The recipes from the literature: each says what it must, loads over its own set and over the packaged one, and runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from potstill.errors import DataError, UserError
from potstill.recipe import load
from potstill.recipes import catalogue, sets
from potstill.recipes.catalogue import NO_TEACHER, entries, text, variant, write
from potstill.recipes.sets import SETS, File, label_first, phrases, tab_label

NAMES = [entry.name for entry in entries()]
ROOT = Path(__file__).parents[2]


def copy_of(folder, name, monkeypatch):
    """A little copy of a known set, its hashes made the known ones."""
    folder.mkdir(parents=True, exist_ok=True)
    known = SETS[name]
    files = {}
    for part, file in known.files.items():
        lines = [f"word{i} of a longer {part} text\t{i % 2}" if file.read is not label_first else f"{i % 2} word{i} of a longer {part} text" for i in range(30)]
        (folder / file.name).write_text("\n".join(lines) + "\n", "utf-8")
        files[part] = File(file.name, hashlib.sha256((folder / file.name).read_bytes()).hexdigest(), file.read)
    monkeypatch.setattr(catalogue, "SETS", {**SETS, name: replace(known, files=files)})
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_each_says_its_source_its_data_what_it_needs_and_what_it_reached(name):
    entry = next(entry for entry in entries() if entry.name == name)
    assert entry.data in SETS
    assert all(len(part) > 10 for part in (entry.title, entry.source, entry.needs, entry.reaches))
    assert f"name: {name}\n" in text(name)


@pytest.mark.parametrize("name", NAMES)
def test_its_data_section_is_that_of_its_set(name):
    entry = next(entry for entry in entries() if entry.name == name)
    assert variant(text(name), name, SETS[entry.data].section()) == text(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_over_a_copy_of_its_set(name, tmp_path, monkeypatch):
    entry = next(entry for entry in entries() if entry.name == name)
    source = copy_of(tmp_path / "copy", entry.data, monkeypatch)
    made = write(name, tmp_path / "out", source=source)
    assert load(made.recipe).name == name
    assert made.warnings == ()
    assert made.counts == {part: 30 for part in SETS[entry.data].files}
    told = json.loads((tmp_path / "out" / "source.json").read_text())
    assert told["license"] == SETS[entry.data].license
    assert all(file["sha256"] == file["known"] for file in told["files"].values())


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_over_the_packaged_set(name, tmp_path):
    made = write(name, tmp_path / "out", rows=40)
    recipe = load(made.recipe)
    assert recipe.name == f"{name}-icd"
    assert recipe.data.columns["group"] == "category"
    assert made.counts == dict.fromkeys(("train", "validation", "calibration", "test", "unlabeled"), 40)
    assert "public domain" in made.license


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_over_the_packaged_set(name, tmp_path):
    """Whole, by the command that people type: a few hundred rows, as little training as still teaches something."""
    made = write(name, tmp_path / "out", rows=250)
    recipe = load(made.recipe)
    short = ["teacher.adapt.epochs=4", "threads=1", "data.limit.unlabeled=100", "training.evaluations=2"]
    for student in recipe.students:
        short.append(f"students.{student.name}.epochs=1")
        if getattr(student, "general", None) is not None:
            short += [f"students.{student.name}.general.epochs=1", f"students.{student.name}.general.max_rows=100"]
    command = [sys.executable, "-m", "potstill", "run", str(made.recipe), "--output", str(tmp_path / "run")]
    done = subprocess.run([*command, *(part for override in short for part in ("--set", override))], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr[-2000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["verdict"]["decision"] in ("ship", "do-not-ship", "inconclusive")
    assert [student["name"] for student in report["students"]] == [student.name for student in recipe.students]
    for student in report["students"]:
        assert student["left_out"] == []
        assert 0 <= student["quality"]["accuracy"] <= 1
        assert student["size_bytes"] > 0
        assert student["speedup"]["throughput"]["value"] > 0
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()


def test_a_copy_of_another_content_is_refused_naming_both_hashes(tmp_path, monkeypatch):
    source = copy_of(tmp_path / "copy", "trec", monkeypatch)
    (source / "TREC.test.all").write_text("0 another text\n1 and one more\n")
    there = hashlib.sha256((source / "TREC.test.all").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=there) as caught:
        write("static", tmp_path / "out", source=source)
    assert catalogue.SETS["trec"].files["test"].sha256 in str(caught.value)
    assert "--unpinned" in caught.value.remedy
    assert not (tmp_path / "out").exists()
    made = write("static", tmp_path / "out", source=source, pinned=False)
    assert there in made.warnings[0]
    assert made.counts["test"] == 2


def test_what_is_missing_or_unknown_is_named(tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "something.txt").write_text("")
    with pytest.raises(DataError, match=r"there is no TREC.train.all, TREC.test.all; there: something.txt"):
        write("static", tmp_path / "out", source=tmp_path / "copy")
    with pytest.raises(UserError, match="did you mean 'static'"):
        text("statc")
    with pytest.raises(UserError, match="no set that is known"):
        write("static", tmp_path / "out", source=tmp_path / "copy", of="imdb")
    with pytest.raises(UserError, match="no packaged set"):
        write("static", tmp_path / "out", of="sst2")
    with pytest.raises(UserError, match="there is no recipe"):
        text("../quickstart")


def test_a_folder_with_a_recipe_is_left_alone(tmp_path):
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(UserError, match="already"):
        write("static", tmp_path, rows=10)
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


def test_another_known_set_may_stand_in(tmp_path, monkeypatch):
    made = write("ngram", tmp_path / "out", source=copy_of(tmp_path / "copy", "subj", monkeypatch), of="subj", rows=20)
    recipe = load(made.recipe)
    assert recipe.name == "ngram-subj"
    assert recipe.data.unlabeled is None
    assert made.counts == {"train": 20}


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_over_a_set_without_a_pool(name, tmp_path, monkeypatch):
    made = write(name, tmp_path / "out", source=copy_of(tmp_path / "copy", "trec", monkeypatch), of="trec")
    recipe = load(made.recipe)
    assert recipe.data.unlabeled is None
    general = getattr(recipe.students[0], "general", None)
    assert general is None or Path(general.data).name == "train.jsonl"


def test_without_the_packaged_teacher_there_is_a_path_to_fill_in(monkeypatch):
    def none(name):
        raise UserError("not installed")

    monkeypatch.setattr(catalogue.quickstart, "package_folder", none)
    assert f'model: "{NO_TEACHER}"' in text("static")


@pytest.mark.parametrize(
    ("read", "content", "rows"),
    [
        (tab_label, "a\tb text\t1\n\nother\t0\r\n", [{"text": "a\tb text", "label": "1"}, {"text": "other", "label": "0"}]),
        (phrases, "one two three four\t1\ntoo short\t0\n", [{"text": "one two three four"}]),
        (
            label_first,
            "DESC how is caf\xe9 ?\nENTY what\u0085else\nHUM \n",  # the last has a label and no text, as a few lines of CR and MPQA
            [{"text": "how is caf\xe9 ?", "label": "DESC"}, {"text": "what\u0085else", "label": "ENTY"}],
        ),
    ],
)
def test_files_become_rows(tmp_path, read, content, rows):
    (tmp_path / "file").write_bytes(content.encode("latin-1" if read is label_first else "utf-8"))
    assert list(read(tmp_path / "file")) == rows


@pytest.mark.parametrize("read", [tab_label, label_first])
def test_a_line_of_another_form_is_named(tmp_path, read):
    (tmp_path / "file").write_text("nothing-of-the-kind\n")
    with pytest.raises(DataError, match="file:1"):
        list(read(tmp_path / "file"))


def test_every_known_hash_is_a_sha256_and_every_set_has_rows_to_learn_from():
    for known in SETS.values():
        assert "train" in known.files
        assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in known.files.values())
    assert sets.PACKAGED not in SETS


def test_the_list_at_the_root_is_that_of_the_package():
    page = (ROOT / "recipes" / "README.md").read_text("utf-8")
    for entry in entries():
        assert f"- [{entry.name}](../src/potstill/recipes/{entry.name}.yaml): {entry.title}\n" in page
        assert (ROOT / "src" / "potstill" / "recipes" / f"{entry.name}.yaml").is_file()
    assert page.count("- [") == len(entries())
