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
    ids, weights = reference("\\n".join(texts), student["preprocess"])
    x = np.array(weights, np.float32) @ w["embeddings"][ids]
    if "head.out.weight" not in w:
        return x + w["head.out.bias"]{head}"""

_STATIC = """import json
import numpy as np
from model2vec import StaticModel
from safetensors.numpy import load_file

model, w = StaticModel.from_pretrained("."), load_file("head.safetensors")
labels = json.load(open("student.json"))["head"]["labels"]


def logits(text):
    x = model.encode(text){head}"""


_SUBWORD = """import json
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
{imports}

{module}

student = json.load(open("student.json"))
tokenizer, spec = Tokenizer.from_file("tokenizer.json"), student["preprocess"]
tokenizer.no_padding()
tokenizer.enable_truncation(spec["max_length"])
net = {name}(**student["spec"])
net.load_state_dict(load_file("model.safetensors"))
net.eval()
labels = student["head"]["labels"]


@torch.no_grad()
def logits(*texts):
    ids = tokenizer.encode(*texts, add_special_tokens=spec["special_tokens"]).ids
    mask = torch.tensor([[1] * len(ids) or [0]])
    return net(torch.tensor([ids or [0]]), mask)[0]
"""

_TREES = """import json, re
import lightgbm
import numpy as np

WORD = {word!r}


{reference}

student, model = json.load(open("student.json")), lightgbm.Booster(model_file="model.txt")
labels = student["head"]["labels"]


def logits(*texts):
    ids, _ = reference("\\n".join(texts), student["preprocess"])
    counts = np.bincount(np.array(ids, int) - 1, minlength=student["preprocess"]["buckets"])
    return model.predict(counts[None].astype(np.float32), raw_score=True)[0]
"""

_README = """# A text classifier of {what}

{words}
Run in this folder: `logits(text)` has one score for each of `labels`.

```python
{code}```
"""


def loader_snippet() -> str:
    """Return the code that answers with a saved n-gram student, in plain Python, numpy and safetensors: ``logits(text)``, ``labels``."""
    return _NGRAM.format(word=WORD, reference=_reference(), head=_HEAD.format(h="head."))


def _reference() -> str:
    return inspect.getsource(reference).replace("text: str, spec: Mapping[str, Any]) -> tuple[list[int], list[float]]", "text, spec)")


def static_snippet() -> str:
    """Return the code that answers with a saved static student through model2vec: ``logits(text)``, ``labels``."""
    return _STATIC.format(head=_HEAD.format(h=""))


def ngram() -> str:
    """Return the README of a saved n-gram student."""
    return _README.format(what="hashed n-grams", words="`model.safetensors` holds a row for each n-gram, and the head.", code=loader_snippet())


def static() -> str:
    """Return the README of a saved static student."""
    words = "`model2vec.StaticModel.from_pretrained` loads the token embeddings, whose mean is a text's; `head.safetensors` reads it."
    return _README.format(what="static embeddings", words=words, code=static_snippet())


def subword(kind: str, module: type) -> str:
    """Return the README of a saved student whose weights are those of ``module``, a torch module that needs nothing of ours."""
    imports = {
        "convolutional": "from collections.abc import Sequence\nfrom torch.nn import functional\n",
        "recurrent": "from torch.nn.utils.rnn import pack_padded_sequence\n",
    }[kind]
    code = _SUBWORD.format(imports=imports, module=inspect.getsource(module), name=module.__name__)
    return _README.format(what=f"{kind} layers over subwords", words="`model.safetensors` holds the weights of the module below.", code=code)


def trees() -> str:
    """Return the README of saved trees."""
    code = _TREES.format(word=WORD, reference=_reference())
    return _README.format(what="boosted trees over hashed n-grams", words="`lightgbm.Booster` loads `model.txt`.", code=code)
