from __future__ import annotations

import numpy as np

from bioclip.evaluation.hashed_choice import choose_some, hash_number


def test_a_choice_depends_on_names_and_seed_alone() -> None:
    names = [f"image {number}" for number in range(200)]
    chosen = {names[place] for place in choose_some(names, 20, 17)}
    order = np.random.default_rng(1).permutation(200)
    shuffled = [names[place] for place in order]
    assert {shuffled[place] for place in choose_some(shuffled, 20, 17)} == chosen
    assert {names[place] for place in choose_some(names, 20, 18)} != chosen
    assert len(chosen) == 20
    assert chosen & set(names[:100]) <= {names[place] for place in choose_some(names[:100], 20, 17)}, "what is chosen of more stays chosen"


def test_few_names_are_all_chosen_in_order() -> None:
    assert choose_some(["b", "a"], 5, 0).tolist() == [0, 1]


def test_numbers_of_different_parts_differ() -> None:
    assert len({hash_number(*parts) for parts in ((1, "a"), (1, "b"), (2, "a"), ("a", 1))}) == 4
