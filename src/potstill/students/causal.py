"""A student that writes: a causal language model of ``transformers``, cut from another by depth and by width, or from scratch.

Which layers: evenly spread, or those without which the loss on rows grows most; which heads, neurons and channels: see :mod:`.narrow`. The
language model's head comes along: where it is tied to the embeddings it stays tied.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from .. import rng, storage
from ..errors import UserError
from ..objectives.tokens import heads, models
from ..records import Example, Head
from ..serving.conversation import conversation
from ..serving.turns import IGNORED, NEXT, Turns, spec_of
from . import depth, lora, narrow
from .architectures import choose, renamed
from .folder import head_of, read, write
from .language import LAYER, check_layers, checkpointed, logits_of
from .protocol import Output
from .source import SAFE, plain, quiet, read_config, read_tokenizer, seeded
from .transformer import SCRATCH

INPUTS = ("input_ids", "attention_mask", "position_ids")  # of a batch: the last where rows are packed
PER_LAYER = ("layer_types", "no_rope_layers", "mlp_layer_types")  # what a config says of each layer
ROWS, LINES = 64, 4  # to measure the importance of parts by, and how many at a time: some ten thousand tokens, a minute or two of a small teacher's


@dataclass
class CausalStudent:
    """A causal language model and its tokenizer; ``layers`` says which of its source's layers it began with.

    ``module`` is what is trained: the model, or adapters around it, which are merged where it is saved.
    """

    module: Any
    head: Head
    tokenizer: Any  # a fast tokenizer of transformers
    spec: dict[str, Any]  # preprocessing
    layers: tuple[int, ...]
    kind: str = "transformer"
    learns: Literal["loop"] = "loop"

    def __post_init__(self) -> None:
        self.preprocess: Any = Turns.make(self.spec, self.tokenizer.backend_tokenizer)
        self.hidden_layers = int(self.model.config.num_hidden_layers)
        self.width = int(self.model.config.hidden_size)
        self.parameters = sum(p.numel() for name, p in self.model.named_parameters() if not lora.added(name))

    @property
    def model(self) -> PreTrainedModel:
        """The language model itself, without what is around it."""
        found: PreTrainedModel = lora.inner(self.module)
        return found

    def states(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return what goes into the head *Shape:* (lines, length, width), behind the last norm."""
        found: Tensor = self.model.base_model(**{name: batch[name] for name in INPUTS if name in batch}, use_cache=False).last_hidden_state
        return found

    def token_head(self) -> heads.Head:
        """Return what makes logits of states; its tensors are the module's own."""
        return models.head_of(self.model)

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        """Answer a batch: logits *Shape:* (positions, vocabulary) at the places that foretell a learnt token; all of them stand in memory."""
        given = {name: batch[name] for name in INPUTS if name in batch}
        out = self.model.base_model(**given, use_cache=False, output_hidden_states=hidden)
        logits = logits_of(self.token_head(), out.last_hidden_state[batch[NEXT] != IGNORED])
        real = batch["attention_mask"].bool()
        return Output(logits, tuple(state[real] for state in out.hidden_states) if hidden else None)

    def save_model(self, folder: Path) -> None:
        """Write what ``from_pretrained`` reads: config, safetensors, tokenizer. Nothing else; adapters are merged."""
        with storage.disk_errors(folder), quiet():
            lora.merged(self.module).save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        self.save_model(folder)
        write(folder, kind=self.kind, spec={"layers": list(self.layers)}, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec)

    def save_preprocess(self, folder: Path) -> None:
        storage.write_text(folder / "tokenizer.json", plain(self.tokenizer.backend_tokenizer).to_str())

    def export_module(self) -> nn.Module:
        raise NotImplementedError("a language model is exported with its cache, by a way of its own")

    def reading(self, *, template: str | None = None, options: Mapping[str, Any] | None = None, every_turn: bool = False) -> CausalStudent:
        """Return the same student that reads turns by another ``template``, by its ``options``, or learns ``every_turn``; see :class:`Turns`."""
        spec = {**self.spec, "template": template or self.spec["template"], "options": dict(options or {}), "every_turn": every_turn}
        return replace(self, spec=spec)


def build(spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()) -> CausalStudent:
    """Return a student that begins as ``spec.layers`` of the language model in ``source``; ``spec`` may say further: see :class:`TransformerStudent`
    of the recipe.

    ``spec.max_length``, where given, goes before ``max_length``; both yield to what the model can read. ``rows`` show which parts matter. Raises
    :class:`UserError` for a folder, an architecture, layers or widths that can't be used.
    """
    config, tokenizer = read_config(source), read_tokenizer(source)
    reads = spec_of(tokenizer, max_length=_longest(config, tokenizer, spec.max_length or max_length))
    if getattr(spec, "source", None) == SCRATCH:
        made, layers = _fresh(spec, config, seed), tuple(range(spec.layers))
    else:
        reader = Turns.make(reads, tokenizer.backend_tokenizer)
        made, layers = _cut(spec, config, source, lambda count: _batches(reader, rows, count))
    models.check(made, place=str(source))
    if getattr(spec, "checkpointing", False):
        checkpointed(made)
    if (adapters := getattr(spec, "lora", None)) is not None:
        with seeded(rng.integer(seed, "student", "lora")):
            made = lora.adapted(made, rank=adapters.rank, alpha=adapters.alpha)
    return CausalStudent(made, head, tokenizer, reads, layers)


def _longest(config: Any, tokenizer: Any, wanted: int) -> int:
    """Return how many tokens of a row a model reads: as ``wanted``, where it can."""
    return int(min(wanted, getattr(config, "max_position_embeddings", None) or wanted, tokenizer.model_max_length))


def turns(source: Path, max_length: int, *, template: str | None, options: Mapping[str, Any], every_turn: bool) -> Turns:
    """Return how a student would read that begins from the model in ``source``, which is not loaded; see :func:`build` and its ``reading``."""
    tokenizer = read_tokenizer(source)
    longest = _longest(read_config(source), tokenizer, max_length)
    spec = spec_of(tokenizer, max_length=longest, template=template, options=options, every_turn=every_turn)
    return Turns.make(spec, tokenizer.backend_tokenizer)


def texts(reader: Turns, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what ``reader`` writes rows as before they are cut into tokens: what a vocabulary is trimmed by. A chat with all that its template adds."""
    told = [conversation(row, every_turn=reader.every_turn) for row in rows]
    return [text for one in told for text in ([turn.content for turn in one.turns] if one.plain else [reader.renderer.text(one.turns)])]


def load(folder: Path) -> CausalStudent:
    """Return the student that :meth:`CausalStudent.save` wrote."""
    saved = read(folder, "transformer")
    return CausalStudent(_whole(folder), head_of(saved), read_tokenizer(folder), saved["preprocess"], tuple(saved["spec"]["layers"]))


def _whole(source: Path) -> PreTrainedModel:
    """Return the language model in ``source``. Raises :class:`UserError` for one that is none, or whose layers stand elsewhere."""
    try:
        with quiet(), seeded(0):
            loaded: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True, **SAFE)
    except (OSError, ValueError) as error:
        remedy = "a student that writes is cut from a causal language model: config.json, model.safetensors, tokenizer.json"
        raise UserError(f"no language model can be read: {str(error).splitlines()[0]}", place=str(source), remedy=remedy) from error
    model, info = loaded
    check_layers(model, str(source))
    if info["missing_keys"]:
        lacking = ", ".join(sorted(map(str, info["missing_keys"]))[:3])
        raise UserError(f"the folder's weights lack {lacking}", place=str(source), remedy="is it a whole language model, with its head?")
    made: PreTrainedModel = model
    return made


# ---------------------------------------------------------------------------------------------------------------- shapes
def _cut(spec: Any, config: Any, source: Path, batches: Any) -> tuple[PreTrainedModel, tuple[int, ...]]:
    """Return the layers that ``spec`` names, or those that matter most; of heads, neurons and channels those that do."""
    whole = _whole(source)
    if getattr(spec, "choose", "even") == "importance" and isinstance(spec.layers, int):
        layers = depth.most_important(whole, spec.layers, batches(depth.ROWS))
    else:
        layers = choose(spec.layers, config.num_hidden_layers)
    sizes = [getattr(spec, name, None) for name in ("heads", "intermediate", "hidden")]
    small, state = _shallower(whole.config, layers), whole.state_dict()
    numbers = dict(enumerate(layers))
    narrower = any(size is not None for size in sizes)
    if not narrower and len(layers) == config.num_hidden_layers:
        return whole, layers
    if narrower:
        wanted = narrow.shape(config, *sizes)
        found = narrow.importance(whole, ({name: batch[name] for name in INPUTS[:2]} for batch in batches(ROWS)))
        small, state = narrow.resized(small, wanted), narrow.sliced(state, config, wanted, found)
    model = _empty(small)
    model.load_state_dict({name: state[str(renamed(name, LAYER, numbers))] for name in model.state_dict()})
    model.generation_config = copy.deepcopy(whole.generation_config)
    return model, layers


def _shallower(config: Any, layers: Sequence[int]) -> Any:
    small = copy.deepcopy(config)
    for name in PER_LAYER:
        told = getattr(config, name, None)
        if isinstance(told, list) and len(told) == config.num_hidden_layers:
            setattr(small, name, [told[layer] for layer in layers])
    small.num_hidden_layers = len(layers)
    return small


def _empty(config: Any, seed: int = 0) -> PreTrainedModel:
    with quiet(), seeded(seed):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    return model


def _fresh(spec: Any, config: Any, seed: int) -> PreTrainedModel:
    """Return a model of the source's architecture and none of its weights; what ``spec`` leaves out is the source's, and heads share keys as there."""
    heads, groups = config.num_attention_heads, narrow.groups_of(config)
    own = spec.heads or heads
    if own % (each := heads // groups):
        raise UserError(f"{own} heads are no whole groups", place="students.heads", remedy=f"{each} heads share a key and a value: take a multiple of {each}")
    small = copy.deepcopy(config)
    small.head_dim, small.num_attention_heads, small.num_key_value_heads = narrow.size_of_head(config), own, own // each
    small.hidden_size, small.intermediate_size = spec.hidden or config.hidden_size, spec.intermediate or config.intermediate_size
    layers = [round(n * (config.num_hidden_layers - 1) / max(1, spec.layers - 1)) for n in range(spec.layers)]  # whose kinds theirs are
    model = _empty(_shallower(small, layers), rng.integer(seed, "student", "scratch"))
    check_layers(model, "students.from")
    return model


def _batches(reader: Turns, rows: Sequence[Example], count: int) -> Iterator[dict[str, Tensor]]:
    """Yield the first windows of up to ``count`` of the rows, chosen by their ids, a few at a time. Raises :class:`UserError` where there are none."""
    chosen = sorted(rows, key=lambda row: row.id)[:count]
    if not chosen:
        raise UserError("there are no rows to measure by what matters", place="students", remedy="give rows to learn from, or keep the source's widths")
    items = [{name: array[item["window"] == 0] for name, array in item.items()} for item in reader.encode([row.fields for row in chosen])]
    items = [item for item in items if len(item["input_ids"])]
    for first in range(0, len(items), LINES):
        yield {name: torch.from_numpy(array) for name, array in reader.collate(items[first : first + LINES]).items()}
