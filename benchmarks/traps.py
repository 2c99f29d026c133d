"""The rows of TRAPS.md that the tools for distillation share: one small check each, run on potstill and on three others.

    pip install --no-deps textbrewer==0.2.1.post1 torchdistill==1.1.5 sentence-transformers==6.2.0
    pip install --no-deps tensorboard grpcio absl-py protobuf markdown werkzeug pillow
    pip install datasets                      # for sentence-transformers' trainer
    OMP_NUM_THREADS=1 python benchmarks/traps.py
    OMP_NUM_THREADS=1 python benchmarks/traps.py --tools potstill         # needs none of them; writes nothing

TextBrewer needs tensorboard at import. torchdistill needs torchvision there, for its registries of vision models and data sets: empty modules
stand in for it while it is imported (see peers/on_torchdistill.py), its losses and its box run on plain torch modules. Each tool is used through
its public interface, at the settings that it documents; where another of its settings avoids a trap, or falls in, that is said. ``peers/checks.py``
holds the checks, ``peers/rows.py`` the table of them. Verdicts go to benchmarks/results/traps.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOOLS = {"textbrewer": "on_textbrewer", "torchdistill": "on_torchdistill", "sentence-transformers": "on_sentence_transformers", "potstill": "on_potstill"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="+", choices=tuple(TOOLS), default=tuple(TOOLS))
    options = parser.parse_args()
    found = measure(options.tools)
    for row in found["rows"]:
        print(row["row"], row["trap"])
        for tool, said in row["tools"].items():
            print(f"    {tool}: {said['verdict']}")
            for line in said["evidence"]:
                print(f"        {line['setting']}: {line['seen']}")
    if len(options.tools) == len(TOOLS):
        (HERE / "results" / "traps.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def measure(names: Sequence[str]) -> dict[str, Any]:
    """Return what the checks say of the tools."""
    import torch

    from peers import rows, toys

    toys.quiet()
    torch.set_num_threads(1)
    tools = [importlib.import_module(f"peers.{TOOLS[name]}").tool() for name in names]
    lines = []
    for check in rows.CHECKS:
        torch.manual_seed(0)
        said = {tool.name: rows.judged(check, tool) for tool in tools}
        lines.append({"row": check.row, "trap": check.trap, "tools": said})
    versions = {tool.name: tool.version for tool in tools}
    return {"versions": versions, "torch": torch.__version__, "python": platform.python_version(), "rows": lines, "left_out": rows.LEFT_OUT}


if __name__ == "__main__":
    main()
