"""Step 2, a kind of teacher at a time: what has to be made before it can be asked, and the fingerprint of what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..records import Example
from ..workspace import Workspace
from . import precision
from .data import Data, fields

# Options of a teacher that its answers don't depend on, or only through the contents of the files that they name.
NOT_ASKED = {"model", "gguf_file", "adapt", "batch_size", "license", "output_license", "usd_per_1000", "tokens"}


@dataclass(frozen=True)
class Ready:
    """A teacher that can be opened: its section of the recipe with every choice made, what was made for it, its fingerprint."""

    spec: Any
    fingerprint: str
    source: Path | None = None  # the model as given, before it was adapted: where controls start
    folder: Path | None = None  # the model that is asked
    graph: Path | None = None  # its ONNX form, where its precision needs one
    adapted: Stage | None = None
    probe: Mapping[str, Any] | None = None  # what was found where the precision was left to us
    members: tuple[Ready, ...] = ()
    fields: tuple[str, ...] = ("text",)  # of the rows, for a prompt that must show them
    shots: tuple[Example, ...] = ()  # the training rows that stand in the prompt

    @property
    def timed(self) -> bool:
        """Whether there is something to time here, at no price: a recording answers no new text, calls of a function may cost money, and
        an endpoint's speed is that of another machine and of who else asks it."""
        paid = self.spec.kind == "callable" and bool(self.spec.usd_per_1000)
        return self.spec.kind not in ("recorded", "endpoint") and not paid and all(member.timed for member in self.members)

    def before(self) -> Ready:
        """Return the model as it was given, before it was adapted, known by what its inner states depend on; where its answers come from a
        graph, that shows no inner states, in fp32."""
        assert self.source is not None  # the recipe allows it to a teacher that is a model alone
        spec = self.spec.model_copy(update={"precision": self.spec.training_precision})
        asked = spec.model_dump(mode="json", exclude=NOT_ASKED)
        return Ready(spec, storage.digest("encoder", asked, storage.sha256_folder(self.source)), self.source, self.source)

    def today(self) -> Ready:
        """Return the teacher as its users run it: where the precision was left to us, in fp32, for that is what they run who named none."""
        members = tuple(member.today() for member in self.members)
        if self.probe is None:
            return replace(self, members=members)
        return replace(self, spec=self.spec.model_copy(update={"precision": "fp32"}), graph=None, members=members)

    def told(self) -> dict[str, Any]:
        """Return the plain JSON that ``teachers.build:opened`` opens it from, in this process or another."""
        return {
            "teacher": self.spec.model_dump(mode="json", by_alias=True), "folder": str(self.folder) if self.folder else None,
            "graph": str(self.graph) if self.graph else None, "members": [member.told() for member in self.members],
            "fields": list(self.fields), "shots": [[dict(row.fields), str(row.gold)] for row in self.shots],
        }  # fmt: skip


def ready(work: Workspace, data: Data, spec: Any) -> Ready:
    """Make ready the teacher that ``spec``, a section of the recipe, describes."""
    return KINDS[spec.kind](work, data, spec)


def _model(work: Workspace, data: Data, spec: Any) -> Ready:
    """Give the model a head for the task where the recipe says so, then its precision; recipes over the same data and teacher share both."""
    source = load("potstill.teachers.gguf:usable")(Path(spec.model), spec.gguf_file, log=work.log)
    weights = storage.sha256_folder(source)
    adapted = _adapt(work, data, spec, source, weights) if spec.adapt is not None else None
    folder, made_of = (adapted.folder / "model", adapted.fingerprint) if adapted else (source, weights)
    chosen = precision.choose(work, data, spec, folder, made_of)
    asked = chosen.spec.model_dump(mode="json", exclude=NOT_ASKED)
    fingerprint = storage.digest(asked, made_of, data.head.named, *([storage.sha256_folder(chosen.graph)] if chosen.graph else []))
    return Ready(chosen.spec, fingerprint, source, folder, chosen.graph, adapted, chosen.probe)


def _adapt(work: Workspace, data: Data, spec: Any, source: Path, weights: str) -> Stage:
    trained = spec.model_copy(update={"precision": spec.training_precision})

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("adapt", "adapting the teacher to the task"):
            history = load("potstill.training.adapt:adapt")(
                trained, data.train, data.validation, data.head, task=work.task, source=source, fields=fields(data), folder=folder / "model",
                scratch=scratch, seed=work.recipe.seeds[0], threads=work.threads, progress=work.progress("adapt"), log=work.log,
            )  # fmt: skip
            storage.write_json(folder / "result.json", history)

    inputs = {
        "adapt": spec.adapt.model_dump(mode="json"), "max_length": spec.max_length, "weights": weights, "train": data.train.digest,
        "validation": data.validation.digest, "labels": data.head.named, "seed": work.recipe.seeds[0],
        **({} if trained.precision == "fp32" else {"precision": trained.precision}),
    }  # fmt: skip
    return work.shared.get("adapt", inputs, make, version=2)


def _recorded(work: Workspace, data: Data, spec: Any) -> Ready:
    files = [storage.sha256_file(Path(path)) for path in ([spec.path] if isinstance(spec.path, str) else spec.path)]
    return Ready(spec, storage.digest(spec.model_dump(mode="json", exclude={"path"}), files, data.head.named))


def _by_identity(opener: str) -> Callable[[Workspace, Data, Any], Ready]:
    """Return the way of a teacher that needs nothing made, and whose identity can be told without opening it."""

    def way(work: Workspace, data: Data, spec: Any) -> Ready:
        return Ready(spec, storage.digest(load(opener)(spec), data.head.named))

    return way


def _endpoint(work: Workspace, data: Data, spec: Any) -> Ready:
    """Draw the shots, from the training rows alone: these were cleared of all that is the same as, or near to, a row that judges."""
    shots = tuple(load("potstill.teachers.endpoint.prompt:draw")(data.train.examples, spec.prompt.shots, spec.prompt.seed)) if spec.prompt.shots else ()
    if spec.api_key is not None and not work.offline:
        work.log.secrets = (*work.log.secrets, load("potstill.teachers.endpoint.client:key_of")(spec))
    known = Ready(spec, "", fields=fields(data), shots=shots)
    identity = load("potstill.teachers.build:opened")(known.told(), data.head).identity()
    shifted_by = {"none": [], "content_free": [], "validation": [row.id for row in data.validation]}[spec.calibration]
    return replace(known, fingerprint=storage.digest(identity, spec.calibration, shifted_by, data.head.named, *_shown(spec)))


def _shown(spec: Any) -> list[Any]:
    """Return what else a row is shown by: each request holds what came of it, so the identity does not. Nothing where all is as usual."""
    guard = [] if spec.prompt.guard == "flagged" else [spec.prompt.guard]
    redactor = load("potstill.teachers.endpoint.private:redactor")(spec)
    return guard if redactor is None else [*guard, redactor.as_json(), redactor.digest("the key")]


def _ensemble(work: Workspace, data: Data, spec: Any) -> Ready:
    made = tuple(ready(work, data, member) for member in spec.members)
    fingerprint = storage.digest("ensemble", [member.fingerprint for member in made], spec.weights)
    return Ready(spec, fingerprint, members=made)


KINDS: Mapping[str, Callable[[Workspace, Data, Any], Ready]] = {
    "model": _model,
    "recorded": _recorded,
    "onnx": _by_identity("potstill.teachers.onnx_file:identity"),
    "callable": _by_identity("potstill.teachers.function:identity"),
    "ensemble": _ensemble,
    "endpoint": _endpoint,
}
