"""The scorers of reasoning_gym: those that can be run on rows and completions of anybody's.

Some evaluate a text as Python, with ``eval`` or SymPy's ``parse_expr``: whoever writes the row, or
the model that writes the completion, runs code. Others do work without bound for a small text.
`SAFE_SCORERS` names the scorers of reasoning_gym 0.1.25 that were read and do neither; any other
scorer, also of a later release, runs only with ``--allow-user-code``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trials.data.dataset import Row
from trials.io.errors import RewardError
from trials.matching.text import final_answer

MAX_ANSWER_CHARACTERS = 10_000  # of an answer: longer ones are wrong

# Why the scorers that are known are not safe.
EVALUATES_ROW = "evaluates text of the row as code"
EVALUATES_COMPLETION = "evaluates the completion as code"
UNBOUNDED = "can be made to work without end by a few characters"
UNSAFE_SCORERS = {
    **dict.fromkeys(("bitwise_arithmetic", "number_sorting"), EVALUATES_ROW),
    **dict.fromkeys(
        ("simple_integration", "intermediate_integration", "polynomial_multiplication"),
        "evaluates text of the row and the completion as code",
    ),
    **dict.fromkeys(
        ("binary_matrix", "countdown", "n_queens", "puzzle24", "spiral_matrix", "string_insertion"),
        EVALUATES_COMPLETION,
    ),
    **dict.fromkeys(
        ("coin_flip", "rush_hour", "propositional_logic", "quantum_lock", "rubiks_cube"), UNBOUNDED
    ),
    **dict.fromkeys(("tower_of_hanoi", "power_function"), UNBOUNDED),
    "composite": "hands its rows to other scorers, safe or not",
    "codeio": "was not found to be safe",
}
SAFE_SCORERS = frozenset(
    """
    ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic bf
    binary_alternation boxnet caesar_cipher calendar_arithmetic chain_sum circuit_logic
    color_cube_rotation complex_arithmetic count_bits count_primes course_schedule cryptarithm
    decimal_arithmetic decimal_chain_sum dice emoji_mystery family_relationships figlet_font
    fraction_simplification futoshiki game_of_life game_of_life_halting gcd graph_color
    group_anagrams gsm_symbolic isomorphic_strings jugs kakurasu knight_swap knights_knaves
    largest_island lcm leg_counting letter_counting letter_jumble list_functions mahjong_puzzle
    manipulate_matrix maze mini_sudoku modulo_grid needle_haystack number_filtering
    number_format number_sequence palindrome_generation palindrome_partitioning path_star
    polynomial_equations pool_matrix prime_factorization products ransom_note rearc
    rectangle_count rotate_matrix rotten_oranges self_reference sentence_reordering
    shortest_path simple_equations simple_geometry sokoban spell_backward string_manipulation
    string_splitting string_synthesis sudoku survo syllogism time_intervals tsumego word_ladder
    word_sequence_reversal word_sorting zebra_puzzles
    """.split()  # noqa: SIM905  # a hundred names, one a line, would hide the rest
)


def gym_scorer(marker: str, allowed: bool, dataset: str) -> Callable[[str, Row], float]:
    """The scorer of one of reasoning_gym's datasets.

    Raises:
        RewardError: when there is none of that name, or it is not safe and not allowed.
    """
    from reasoning_gym import get_score_answer_fn
    from reasoning_gym.factory import DATASETS

    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise RewardError(
            f"reward_args of 'reasoning_gym': there is no dataset {str(dataset)[:60]!r}; expected "
            "the name of one of reasoning_gym's, such as chain_sum"
        )
    if dataset not in SAFE_SCORERS and not allowed:
        reason = UNSAFE_SCORERS.get(dataset, "was not found to be safe")
        raise RewardError(
            f"the scorer of reasoning_gym's {dataset!r} {reason}, so it is not run unasked\n"
            "  expected: `reward: exact_match` or `numeric` in dataset.yaml, or, if you trust the "
            "rows and what a model may write, --allow-user-code"
        )
    try:
        score = get_score_answer_fn(dataset)
    except Exception as error:
        raise RewardError(
            f"the scorer of reasoning_gym's {dataset!r} cannot be made: {error!r}"
        ) from error

    def entry(row: Row, answer: str) -> dict[str, Any]:
        content = row.prompt[-1]["content"]
        return {"question": content, "answer": answer, "metadata": row.metadata}

    def reward(completion: str, row: Row) -> float:
        found = final_answer(completion, marker, 1 + row.answer.count("\n"))
        if len(found) > MAX_ANSWER_CHARACTERS:
            return 0.0
        try:
            return max(float(score(found, entry(row, answer))) for answer in row.answers)
        except Exception:
            # The row is at fault if its own answer fails too, else the completion.
            score(row.answer, entry(row, row.answer))
            return 0.0

    return reward
