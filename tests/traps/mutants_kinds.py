"""Wrong lines that the tests of convolutional, recurrent and tree students must catch."""

from __future__ import annotations

from .mutants import Mutant

GRADIENTS = "training/test_boosting.py::test_gradients_and_losses_are_those_of_the_objectives"
PADDING = "students/test_subword.py::test_neither_padding_nor_neighbors_have_a_say"

MUTANTS = [
    Mutant(trap=2, file="training/gradients.py", old="temperature * (p - share)", new="(p - share)", test=GRADIENTS),
    Mutant(trap=4, file="training/gradients.py", old="target = log_softmax(taught / temperature)", new="target = log_softmax(taught)", test=GRADIENTS),
    Mutant(trap=13, file="training/gradients.py", old="share = slope.weight * self.count / slope.rows.sum()", new="share = slope.weight", test=GRADIENTS),
    Mutant(
        trap=48,
        file="training/boosting.py",
        old="init_model=lightgbm.Booster(model_str=earlier) if earlier else None",
        new="init_model=None",
        test="training/test_boosting.py::test_interrupted_it_goes_on_to_the_same_trees",
    ),
    Mutant(
        trap=57,
        file="students/forest.py",
        old="np.where(c < 0, ~c + leaf, c + root)",
        new="np.where(c < 0, ~c + leaf, c)",
        test="students/test_trees.py::test_the_graph_answers_as_the_library_does",
    ),
    Mutant(
        trap=57,
        file="students/convolutional.py",
        old="self.embedding(ids) * real.unsqueeze(2)",
        new="self.embedding(ids)",
        test=PADDING,
    ),
    Mutant(
        trap=57,
        file="students/convolutional.py",
        old="(scores * reaches.unsqueeze(1))",
        new="scores",
        test=PADDING,
    ),
    Mutant(
        trap=57,
        file="students/recurrent.py",
        old="lengths = mask.sum(1).clamp(min=1).cpu()",
        new="lengths = (mask.sum(1) * 0 + mask.shape[1]).cpu()",
        test=PADDING,
    ),
    Mutant(
        trap=57,
        file="students/recurrent.py",
        old="back(_at(states, around))[0]",
        new="back(states.flip(1))[0]",
        test="students/test_subword.py::test_the_export_module_agrees",
    ),
]
