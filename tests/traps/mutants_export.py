"""Wrong lines that the traps of exporting and shipping must catch."""

from __future__ import annotations

from .mutants import Mutant

HERE = "traps/test_traps_export.py::"

MUTANTS = [
    Mutant(
        trap=57,
        file="export/parity.py",
        old="return [*rows, *({name: text for name in fields} for text in ODD)]",
        new="return [*rows]",
        test=HERE + "test_trap_57_an_export_that_differs_anywhere_is_refused",
    ),
    Mutant(
        trap=57,
        file="export/parity.py",
        old="predictor.logits(rows, batch_size=len(rows))",
        new="predictor.logits(rows, batch_size=1)",
        test=HERE + "test_trap_57_an_export_that_differs_anywhere_is_refused",
    ),
    Mutant(
        trap=57,
        file="bundle/probes.py",
        old='"empty": "", ',
        new="",
        test=HERE + "test_trap_57_a_bundle_s_probes_hold_the_odd_inputs",
    ),
    Mutant(
        trap=58,
        file="export/to_onnx.py",
        old="            part.training = mode",
        new="            part.training = True",
        test=HERE + "test_trap_58_exporting_leaves_every_part_in_its_mode",
    ),
    Mutant(
        trap=58,
        file="export/to_onnx.py",
        old="    module.eval()\n",
        new="",
        test=HERE + "test_trap_58_what_is_exported_has_no_dropout",
    ),
    Mutant(
        trap=58,
        file="bundle/probes.py",
        old="SAME, ELSEWHERE = 1e-3,",
        new="SAME, ELSEWHERE = 1e-1,",
        test=HERE + "test_trap_58_a_runtime_that_computes_in_bf16_is_seen",
    ),
    Mutant(
        trap=58,
        file="bundle/verify.py",
        old="if label != probe.label and",
        new="if False and",
        test=HERE + "test_trap_58_decisions_are_replayed_by_name",
    ),
    Mutant(
        trap=58,
        file="export/ladder.py",
        old="if small.loss(whole) > self.max_loss + 1e-9:",
        new="if small.loss(whole) > self.max_loss + 1:",
        test=HERE + "test_trap_58_int8_is_not_taken_on_trust",
    ),
    Mutant(
        trap=58,
        file="export/int8.py",
        old="""helper.make_node("QuantizeLinear", [f"{name}.even", *levels], [f"{name}.levels"], name=f"{name}.levels"),
            helper.make_node("DequantizeLinear", [f"{name}.levels", *levels], [out], name=out),""",
        new="""helper.make_node("DynamicQuantizeLinear", [f"{name}.even"], [f"{name}.levels", f"{name}.s", f"{name}.z"], name=f"{name}.levels"),
            helper.make_node("DequantizeLinear", [f"{name}.levels", f"{name}.s", f"{name}.z"], [out], name=out),""",
        test=HERE + "test_trap_58_an_int8_answer_is_the_same_alone_and_in_company",
    ),
]
