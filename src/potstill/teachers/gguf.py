"""A language model in a GGUF file becomes a plain ``transformers`` folder, once: its weights as float32 in safetensors.

Light until a file must be converted: a run that finds the folder loads nothing heavy.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import TeacherError
from ..lookup import did_you_mean, require
from ..runlog import RunLog

VERSION = 1  # raise it when the folder made of the same file changes


def usable(folder: Path, name: str | None = None, *, log: RunLog | None = None) -> Path:
    """Return a folder that ``from_pretrained`` reads: ``folder`` itself, or what its GGUF file was converted to.

    ``name`` says which file; without it, a folder with no model of its own and exactly one such file is converted. What was converted
    is kept under ``$POTSTILL_HOME/models`` by the file's digest, sealed by a manifest. Raises :class:`TeacherError` for a
    file that is not there or can't be read, :class:`MissingExtraError` without the package that reads it.
    """
    found = sorted(path.name for path in folder.glob("*.gguf"))
    if name is None and ((folder / "config.json").is_file() or not found):
        return folder
    if name is None and len(found) > 1:
        raise TeacherError(f"the folder holds {len(found)} GGUF files", place=str(folder), remedy=f"say which: gguf_file: one of {', '.join(found)}")
    if name is not None and name not in found:
        raise TeacherError(f"the folder holds no '{name}'", place=f"teacher.gguf_file: {name}", remedy=did_you_mean(name, found) or f"look into {folder}")
    file = folder / (name or found[0])
    digest = storage.digest("gguf", VERSION, storage.sha256_file(file))
    made = storage.home() / "models" / digest[:16]
    if storage.read_manifest(made) is None:
        with storage.locked(storage.home() / "models" / "locks" / made.name, what="conversion", wait=True):
            if storage.read_manifest(made) is None:  # another process may have made it while we waited
                require("gguf", "transformers", "torch")
                if log is not None:
                    log.say(f"converting {file.name} to safetensors: once, within a minute or two")
                with storage.new_folder(made, {"stage": "gguf", "fingerprint": digest, "file": file.name}, point="gguf") as partial:
                    _convert(file, partial)
    return made


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from .loading import quiet

    options: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # the reader draws a bar of its own
            # Without `dequantize` the weights count as quantized: such a model can't be saved, nor trained.
            plain = GgufConfig(dequantize=True)
            model = AutoModelForCausalLM.from_pretrained(file.parent, quantization_config=plain, dtype=torch.float32, **options)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, IndexError) as error:
        first = str(error).strip().partition("\n")[0]
        raise TeacherError(f"the GGUF file can't be read: {first}", place=str(file), remedy="does transformers load it?") from error
    with storage.disk_errors(folder), quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
