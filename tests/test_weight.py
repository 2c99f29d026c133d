"""What a box that only answers must install: the core and the extra `serve`, by what their packages ask for."""

from __future__ import annotations

import importlib.metadata as metadata
import io
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ABSENT = {"torch", "scipy", "pyarrow", "transformers", "scikit-learn", "pandas", "accelerate", "lightgbm"}
MOST_MB = 65


def needed(name: str, extra: str = "", found: set[str] | None = None) -> set[str]:
    """All that installing ``name[extra]`` brings, here, by the metadata of what is installed."""
    found = set() if found is None else found
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        other = canonicalize_name(requirement.name)
        if other not in found:
            found.add(other)
            for one in requirement.extras or {""}:
                needed(other, one, found)
    return found


def test_nothing_heavy_is_needed_to_answer():
    packages = needed("potstill", "serve")
    assert {"numpy", "onnxruntime", "tokenizers", "uvicorn"} <= packages
    assert not packages & (ABSENT | {"uvloop"})
    if sys.platform != "win32":
        assert needed("potstill", "fast") - packages - {"potstill"} == {"uvloop"}


@pytest.mark.slow
def test_all_of_it_is_65_mb_of_wheels():
    """Each package's files packed again, as a wheel packs them: the registry's own are within a few percent of it."""
    size = 0
    for name in sorted(needed("potstill", "serve") | {"potstill"}):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
            for file in metadata.files(name) or ():
                path = file.locate()
                if path.is_file() and "__pycache__" not in path.parts:
                    wheel.write(path, str(file))
        size += len(packed.getvalue())
    assert size < MOST_MB * 1e6
    assert size > 30e6  # that much is ONNX Runtime and numpy: the packages were found
