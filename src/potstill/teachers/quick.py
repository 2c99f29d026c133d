"""A model of `transformers` in another precision: its graph, made once by the steps, run by ONNX Runtime without torch."""

from __future__ import annotations

import json
from typing import Any

from .. import storage
from ..errors import TeacherError
from ..records import Head
from ..serving.predictor import DESCRIPTION, Predictor, open_session
from .build import Given, known, task_names
from .files import local_folder, model_files
from .graph import Graph, GraphTeacher
from .rows import budget

VERSION = 1  # raise it when the same graph would answer otherwise


def open_quick(spec: Any, head: Head, given: Given) -> GraphTeacher:
    """Return the teacher of a recipe's `kind: model` whose graph is the artifact in ``given.graph``.

    Its size is the model's own, as people have it; its precision is the graph's.
    """
    assert given.graph is not None  # build() asks for this opener because there is one
    folder = local_folder(spec.model if given.folder is None else str(given.folder))
    open_graph = Predictor.open(given.graph, threads=given.threads or 1)
    if spec.max_length != (made := json.loads((given.graph / DESCRIPTION).read_text("utf-8")))["preprocess"]["max_length"]:
        most = made["preprocess"]["max_length"]
        raise TeacherError(f"the model takes {most} tokens", place=f"teacher.max_length: {spec.max_length}", remedy=f"max_length: {most}")
    names = task_names(open_graph.labels, spec.labels, head, place=str(folder))
    files = {name: storage.sha256_file(given.graph / name) for name in made["files"]}
    tokens, preprocess = budget(spec.batch_size, spec.max_length), open_graph.preprocess
    exact, margin = None, 0.0
    if told := made.get("again"):
        exact, margin = Graph(open_session(given.graph / told["model"], given.threads or 1), preprocess, tokens), float(told["margin"])
    graph = Graph(open_graph.session, preprocess, tokens, open_graph.max_batch, again=exact, margin=margin)
    facts = {
        "architecture": made["architecture"], "parameters": made["parameters"], "size_bytes": sum(path.stat().st_size for path in model_files(folder)),
        "layers": None, "width": None, "max_length": spec.max_length, "precision": spec.precision, "path": str(folder), "one_hot": False, **known(spec),
    }  # fmt: skip
    identity = storage.digest("model", spec.precision, VERSION, files, margin, spec.max_length, names)
    return GraphTeacher(folder.name, head, graph, names, identity=identity, facts=facts)
