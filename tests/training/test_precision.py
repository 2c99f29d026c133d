"""bf16 is taken where the hardware does it, and the reason is told."""

from __future__ import annotations

import pytest
import torch

from potstill.training import precision


@pytest.fixture
def machine(monkeypatch):
    def has(*flags, gpu=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bool(gpu))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
        monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))

    return has


def test_what_the_recipe_says_is_done(machine):
    machine()
    assert [precision.resolve(name).name for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert precision.resolve("bf16").reason == "as the recipe says"


@pytest.mark.parametrize(
    ("flags", "gpu", "name", "reason"),
    [
        ((), None, "fp32", "this processor has no native bf16"),
        (("avx2", "avx512f"), None, "fp32", "this processor has no native bf16"),
        (("avx512_bf16",), None, "bf16", "this processor does it natively"),
        (("amx_bf16",), None, "bf16", "this processor does it natively"),
        (("amx_bf16",), False, "fp32", "a GPU has no native bf16"),
        ((), True, "bf16", "a GPU does it natively"),
    ],
)
def test_auto_takes_what_is_native(machine, flags, gpu, name, reason):
    machine(*flags, gpu=gpu)
    assert precision.resolve("auto") == precision.Precision(name, reason)


def test_flags_are_read_from_both_families_and_from_no_file(tmp_path):
    info = tmp_path / "cpuinfo"
    for text in ("processor : 0\nflags\t\t: fpu amx_bf16 sse\n\nprocessor : 1\nflags : x\n", "Features\t: amx_bf16 fpu sse\n"):
        info.write_text(text)
        assert precision.cpu_flags(info) == {"fpu", "amx_bf16", "sse"}
    info.write_text("model name : none\n")
    assert precision.cpu_flags(info) == frozenset()
    assert precision.cpu_flags(tmp_path / "absent") == frozenset()
