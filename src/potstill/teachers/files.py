"""The files of a ``transformers`` folder that a model's answers depend on, and the folder's digest."""

from __future__ import annotations

from pathlib import Path

from .. import storage
from ..errors import TeacherError

# Weights, configuration and tokenizer; not model cards, licences or what a training left behind.
PATTERNS = (
    "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*.json", "vocab.*", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "*.model",
)  # fmt: skip


def local_folder(name: str, *, place: str = "teacher.model") -> Path:
    """Return the folder that ``name`` is. Raises :class:`TeacherError` where there is none: nothing is fetched from a hub."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        remedy = "is the path spelt so? potstill works offline: only folders on this machine, names on a hub are not fetched"
        raise TeacherError(f"there is no folder '{name}'", place=place, remedy=remedy)
    if not (folder / "config.json").is_file():
        raise TeacherError(
            "the folder holds no config.json: it is no transformers model",
            place=str(folder),
            remedy="name the folder that save_pretrained wrote",
        )
    if not any(folder.glob("*.safetensors")):
        raise TeacherError(
            "the folder holds no weights in safetensors",
            place=str(folder),
            remedy="load the model in transformers and save_pretrained it again: pickled weights can run code, they are not read",
        )
    return folder


def model_files(folder: Path) -> list[Path]:
    return sorted({path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()})


def folder_digest(folder: Path) -> str:
    """Return the digest over the names and contents of the files that answers depend on; the folder's own name is none of it."""
    return storage.digest([[path.name, storage.sha256_file(path)] for path in model_files(folder)])
