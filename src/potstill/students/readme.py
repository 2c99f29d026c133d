"""How a student's folder is read without potstill: the words and the code that go into its README and into the model card."""

from __future__ import annotations

import inspect

from ..serving.hashing import WORD, reference

_HEAD = """
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w["{h}norm.weight"] + w["{h}norm.bias"]
    if "{h}hidden.weight" in w:
        x = np.maximum(w["{h}hidden.weight"] @ x + w["{h}hidden.bias"], 0)
    return w["{h}out.weight"] @ x + w["{h}out.bias"]
"""

_NGRAM = """import json, re
import numpy as np
from safetensors.numpy import load_file

WORD = {word!r}


{reference}

student, w = json.load(open("student.json")), load_file("model.safetensors")
labels = student["head"]["labels"]


def logits(*texts):
    ids = reference("\\n".join(texts), student["preprocess"])
    x = w["embeddings"][ids].sum(0) / max(len(ids), 1){head}"""

_STATIC = """import json
import numpy as np
from model2vec import StaticModel
from safetensors.numpy import load_file

model, w = StaticModel.from_pretrained("."), load_file("head.safetensors")
labels = json.load(open("student.json"))["head"]["labels"]


def logits(text):
    x = model.encode(text){head}"""


_README = """# A text classifier of {what}

{words}
Run in this folder: `logits(text)` has one score for each of `labels`.

```python
{code}```
"""


def loader_snippet() -> str:
    """Return the code that answers with a saved n-gram student, in plain Python, numpy and safetensors: ``logits(text)``, ``labels``."""
    source = inspect.getsource(reference).replace("text: str, spec: Mapping[str, Any]) -> list[int]", "text, spec)")
    return _NGRAM.format(word=WORD, reference=source, head=_HEAD.format(h="head."))


def static_snippet() -> str:
    """Return the code that answers with a saved static student through model2vec: ``logits(text)``, ``labels``."""
    return _STATIC.format(head=_HEAD.format(h=""))


def ngram() -> str:
    """Return the README of a saved n-gram student."""
    return _README.format(what="hashed n-grams", words="`model.safetensors` holds the embeddings and the head.", code=loader_snippet())


def static() -> str:
    """Return the README of a saved static student."""
    words = "`model2vec.StaticModel.from_pretrained` loads the token embeddings, whose mean is a text's; `head.safetensors` reads it."
    return _README.format(what="static embeddings", words=words, code=static_snippet())
