"""What the tests of trap 51 must catch."""

from __future__ import annotations

from .mutants import Mutant

TESTS = "traps/test_traps_recipe.py::test_trap_51_"
MUTANTS = [
    Mutant(
        trap=51,
        file="recipe/base.py",
        old='extra="forbid"',
        new='extra="ignore"',
        test=f"{TESTS}an_unknown_key_is_an_error_in_every_section",
    ),
    Mutant(
        trap=51,
        file="recipe/export.py",
        old='    format: Literal["onnx"] = "onnx"',
        new='    format: Literal["onnx"] = "onnx"\n    opset_nobody_reads: int = 17',
        test=f"{TESTS}every_key_of_the_recipe_is_read_by_some_stage",
    ),
    Mutant(
        trap=51,
        file="recipe/recipe.py",
        old="if not any(isinstance(student, USES_HIDDEN) for student in users):",
        new="if False:",
        test=f"{TESTS}a_term_that_no_student_can_use_is_an_error",
    ),
    Mutant(
        trap=51,
        file="recipe/objectives.py",
        old="Field(gt=0)]\n\n",
        new="Field(ge=0)]\n\n",
        test=f"{TESTS}a_term_of_no_weight_is_an_error",
    ),
]
