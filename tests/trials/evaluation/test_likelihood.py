from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trials.helpers import TINY
from trials.data.dataset import Row
from trials.evaluation.likelihood import log_likelihood
from trials.models.loading import load_model
from trials.models.tokenizer import load_tokenizer


def row(prompt: str, answer: str, completion: bool = True) -> Row:
    said = [{"role": "assistant", "content": answer}] if completion else []
    return Row([{"role": "user", "content": prompt}], said, answer, {})


ROWS = [row("1 + 1 =", "2"), row("The sum of 12 and 30 is?", "42"), row("Spell cat.", "c a t")]


def test_it_is_the_loss_of_the_completion_whatever_it_is_batched_with() -> None:
    model, tokenizer = load_model(str(TINY)), load_tokenizer(str(TINY))
    expected = []
    for each in ROWS:
        prompt = tokenizer.apply_chat_template(
            each.prompt, add_generation_prompt=True, return_dict=False
        )
        whole = tokenizer.apply_chat_template([*each.prompt, *each.completion], return_dict=False)
        labels = torch.tensor([whole])
        labels[0, : len(prompt)] = -100
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([whole]), labels=labels).loss
        expected.append(-float(loss) * (len(whole) - len(prompt)))
    model.train()
    for batch in (1, 2, 3):
        found = log_likelihood(model, tokenizer, ROWS, batch, None)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert model.training


def test_a_row_without_a_completion_has_its_answer() -> None:
    model, tokenizer = load_model(str(TINY)), load_tokenizer(str(TINY))
    bare = log_likelihood(model, tokenizer, [row("1 + 1 =", "2", completion=False)], 1, None)
    assert bare[0] == pytest.approx(log_likelihood(model, tokenizer, ROWS[:1], 1, None)[0])
