"""A process that has imported what is heavy and not ours, and forks for each mutant: python -m tests.traps.nursery.

Lines of JSON in: {"source", "test", "told"}; lines out: the exit code of pytest on ``test`` with our package taken from ``source``; what it said is
in the file ``told``. Nothing of ours is imported before the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback

HEAVY = (
    "numpy", "torch", "torch.nn.functional", "transformers", "transformers.modeling_utils", "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama", "tokenizers", "safetensors.torch", "accelerate", "sklearn.linear_model", "sklearn.feature_extraction.text",
    "onnx", "jsonschema", "yaml", "pydantic", "httpx", "typer.testing", "rich.console", "pytest",
)  # fmt: skip
SECONDS = 600


def child(asked: dict) -> None:
    """Become pytest, with its output in a file; never return."""
    handle = os.open(asked["told"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.update(PYTHONPATH=asked["source"], PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path.insert(0, asked["source"])
    signal.alarm(SECONDS)
    code = 70
    try:
        import pytest

        code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", f"tests/{asked['test']}"]))
        import potstill

        if not os.path.realpath(potstill.__file__).startswith(os.path.realpath(asked["source"])):
            print(f"it is not the copy that was tested, but {potstill.__file__}")
            code = 71
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "potstill"]
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads is not forked"
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(asked)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
