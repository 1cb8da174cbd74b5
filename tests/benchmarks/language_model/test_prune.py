"""A smaller model out of a larger one: its layers and weights, and what distillation does."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.language_model.prune import chat_batches, distil, kept_layers, make_proxy, prune
from tasks.config.paths import DATA
from tasks.inputs.proxies import check_same_family
from tests.tasks.inputs.test_proxies import checked
from tests.trials.helpers import write_dataset
from trials.data.dataset import load_dataset
from trials.models.loading import load_model
from trials.models.tokenizer import load_tokenizer

TINY = DATA / "models" / "tiny-1m"


@given(st.integers(2, 80).flatmap(lambda n: st.tuples(st.just(n), st.integers(2, n))))
def test_layers_are_spread_from_the_first_to_the_last(numbers: tuple[int, int]) -> None:
    count, layers = numbers
    kept = kept_layers(count, layers)
    assert len(set(kept)) == layers
    assert (kept[0], kept[-1]) == (0, count - 1)
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("layers", [0, 1, 31])
def test_more_layers_than_there_are_cannot_be_kept(layers: int) -> None:
    with pytest.raises(ValueError, match="expected 2 to 30"):
        kept_layers(30, layers)


def test_with_all_layers_it_is_the_same_model_and_with_fewer_the_rest_of_it() -> None:
    model = load_model(TINY)
    tokens = torch.arange(3, 19).reshape(2, 8)
    whole = prune(model, len(model.model.layers))
    assert torch.equal(whole(tokens).logits, model(tokens).logits)
    small = prune(model, 2)
    assert torch.equal(small.get_input_embeddings().weight, model.get_input_embeddings().weight)
    own = dict(small.model.layers[-1].named_parameters())
    for name, value in model.model.layers[-1].named_parameters():
        assert torch.equal(own[name], value)


def test_distillation_brings_it_nearer_and_the_folder_is_of_the_same_family(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "sums")
    rows = load_dataset(data).splits["train"]
    tokenizer = load_tokenizer(str(TINY))
    large = load_model(TINY)
    batch = next(chat_batches(tokenizer, rows, torch.Generator().manual_seed(1)))

    def distance(small: torch.nn.Module) -> float:
        with torch.no_grad():
            p, q = (model(**batch).logits.log_softmax(-1) for model in (large, small))
        return float((p.exp() * (p - q)).sum(-1)[batch["attention_mask"].bool()].mean())

    small = prune(large, 2)
    before = distance(small)
    batches = chat_batches(tokenizer, rows, torch.Generator().manual_seed(0))
    distil(large, small, batches, 20, lambda _: None)
    assert distance(small) < 0.8 * before
    said: list[str] = []
    out = make_proxy(str(TINY), rows, tmp_path / "small", 2, 1, 0, said.append)
    assert "2 of 5 layers" in said[0]
    check_same_family(checked(TINY, data), checked(out, data))
