from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.tiny_models import mixture as pretraining_mixture
from benchmarks.tiny_models import skills as pretraining_skills
from benchmarks.tiny_models.pretrain import (
    CATALOG,
    MODELS,
    ROOT,
    TOKENIZER,
    build_model,
    encode,
    pretrain,
)

CATALOG_CONTENT = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
TINY = sorted(CATALOG_CONTENT["models"])
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
TOKEN = AutoTokenizer.from_pretrained(TOKENIZER)
ROLES = ("user", "assistant", "system")
# Text may hold anything but the names of the special tokens.
TEXT = st.text(max_size=80).filter(lambda text: "<|" not in text)


def chat(question: str, answer: str | None = None) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": question}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return messages


def ids_of(messages: list[dict[str, str]], prompt: bool = False) -> list[int]:
    return TOKEN.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)


@given(TEXT)
def test_the_tokenizer_loses_nothing(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode("utf-8")
    ids = TOKEN(text)["input_ids"]
    assert TOKEN.decode(ids, skip_special_tokens=True) == text


@given(st.integers(min_value=0))
def test_every_digit_is_a_token(number: int) -> None:
    tokens = TOKEN.convert_ids_to_tokens(TOKEN(f"x{number}")["input_ids"])
    assert tokens == ["x", *str(number)]


@given(TEXT, TEXT)
@settings(max_examples=50)
def test_a_prompt_is_a_prefix_of_its_chat(question: str, answer: str) -> None:
    prompt, whole = ids_of(chat(question), prompt=True), ids_of(chat(question, answer))
    assert whole[: len(prompt)] == prompt
    assert whole[-1] == TOKEN.eos_token_id
    assert whole.count(TOKEN.eos_token_id) == 2


def test_the_template_agrees_with_pretraining_and_marks_the_answer() -> None:
    example = ("Sort in ascending order: 3, 1", "1, 3")
    (ids, prompt), messages = encode(TOKEN, [example])[0], chat(*example)
    assert ids == ids_of(messages)
    assert ids[:prompt] == ids_of(messages[:1], prompt=True)
    marked = TOKEN.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )["assistant_masks"]
    assert marked == [0] * prompt + [1] * (len(ids) - prompt)


def test_special_tokens_are_single_and_hidden_when_decoding() -> None:
    assert (TOKEN.pad_token, TOKEN.eos_token, len(TOKEN)) == ("<|pad|>", "<|end|>", 512)
    for role in ROLES:
        assert len(TOKEN(f"<|{role}|>")["input_ids"]) == 1
    assert TOKEN.decode(ids_of(chat("a", "b")), skip_special_tokens=True) == "ab"


@pytest.mark.parametrize("name", TINY)
def test_a_model_loads_and_answers(name: str) -> None:
    entry = CATALOG_CONTENT["models"][name]
    folder = ROOT / entry["path"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.num_parameters() == entry["parameters"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tokenizer.get_vocab() == TOKEN.get_vocab()
    assert tokenizer.chat_template == TOKEN.chat_template
    texts = [
        tokenizer.apply_chat_template(chat(question), add_generation_prompt=True, tokenize=False)
        for question in ("What is 2 + 3?", "Repeat: dog")
    ]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    answers = output[:, inputs["input_ids"].shape[1] :]
    assert (answers == tokenizer.eos_token_id).any(dim=1).all()


def test_the_one_million_model_knows_one_digit_sums() -> None:
    """The reward of a first RL step must not be zero everywhere."""
    folder = MODELS / "tiny-1m"
    model = AutoModelForCausalLM.from_pretrained(folder)
    right = 0
    pairs = [(a, b) for a in range(10) for b in range(10)]
    prompts = torch.tensor([ids_of(chat(f"{a} + {b} ="), prompt=True) for a, b in pairs])
    output = model.generate(prompts, max_new_tokens=4, do_sample=False)
    for (a, b), row in zip(pairs, output[:, prompts.shape[1] :], strict=True):
        right += TOKEN.decode(row, skip_special_tokens=True) == str(a + b)
    assert right >= 60


def small_run(seed: int) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    common = {**PARAMS["pretrain"]["common"], **PARAMS["pretrain"]["sizes"]["100k"]}
    model = build_model(common, len(TOKEN), seed)
    encoded = encode(TOKEN, pretraining_mixture.basics(200, seed))
    pretrain(model, encoded, common, seed, max_steps=3)
    return model.state_dict()


def test_pretraining_is_reproducible_bit_for_bit() -> None:
    first, second, other = small_run(1), small_run(1), small_run(2)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_pretraining_learns() -> None:
    common = {**PARAMS["pretrain"]["common"], **PARAMS["pretrain"]["sizes"]["100k"]}
    encoded = encode(TOKEN, pretraining_mixture.basics(3200, 1))
    losses = []
    for steps in (5, 100):
        model = build_model(common, len(TOKEN), 1)
        losses.append(pretrain(model, encoded, common, 1, max_steps=steps))
    assert losses[1] < 0.8 * losses[0]


def test_the_forms_never_teach_an_answer(tmp_path: Path) -> None:
    """Answers are those of the dataset, and right no more often than by chance."""
    entry: dict[str, Any] = CATALOG_CONTENT["datasets"]["chain_sum_two_digits"]
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"datasets": {"sums": entry}}), encoding="utf-8")
    examples = pretraining_mixture.forms(catalog, seed=1, per_dataset=1000)
    asked = [question.rsplit(":", 1)[1].rstrip(" =").split() for question, _ in examples]
    truth = [str(int(a) + int(b)) if sign == "+" else str(int(a) - int(b)) for a, sign, b in asked]
    given_answers = [answer for _, answer in examples]
    assert Counter(given_answers) == Counter(truth)
    right = sum(a == b for a, b in zip(truth, given_answers, strict=True))
    chance = sum((count / 1000) ** 2 for count in Counter(truth).values())
    assert right / 1000 < chance + 0.02


def test_the_basics_are_right_where_it_is_easy_to_tell() -> None:
    for question, answer in pretraining_mixture.basics(4000, 7):
        words = question.rstrip("?").split()
        if question.startswith("What is") and words[-2] == "+":
            assert int(words[-3]) + int(words[-1]) == int(answer)
        if question.startswith("Repeat: "):
            assert question.removeprefix("Repeat: ") == answer
        if question.startswith("Sort in ascending order: "):
            numbers = list(map(int, question.split(": ")[1].split(", ")))
            assert sorted(numbers) == list(map(int, answer.split(", ")))


def test_the_skills_are_right_where_it_is_easy_to_tell() -> None:
    told = Counter[str]()
    for question, answer in pretraining_skills.skills(6000, 7):
        words = question.replace("?", "").replace(",", " ").split()
        if question.startswith("gcd("):
            a, b = map(int, question[4:-1].split(","))
            assert a % int(answer) == b % int(answer) == 0
        elif question.startswith("Work out "):
            assert eval(question.removeprefix("Work out ")) == int(answer)  # digits, + and -
        elif question.startswith("Mirror "):
            assert question.removeprefix("Mirror ")[::-1] == answer
        elif "days after" in question:
            days = pretraining_skills.WEEKDAYS
            assert (days.index(words[-1]) + int(words[0])) % 7 == days.index(answer)
        elif question.startswith("Minutes between"):
            (h1, m1), (h2, m2) = (map(int, w.split(":")) for w in (words[2], words[4]))
            assert 60 * (h2 - h1) + m2 - m1 == int(answer)
        else:
            continue
        told[words[0]] += 1
    assert sum(told.values()) > 500


def test_no_question_of_the_catalog_is_among_the_skills() -> None:
    """Whole or in part: else the base model would know what a dataset is there to teach."""
    asked = {question for question, _ in pretraining_mixture.curriculum(2000, 20000, 1)}
    for question, _ in pretraining_mixture.forms(CATALOG, seed=1, per_dataset=20):
        assert question not in asked


def test_the_curriculum_is_as_long_as_asked_and_seeded() -> None:
    first = pretraining_mixture.curriculum(30, 101, 5)
    assert len(first) == 131
    assert first == pretraining_mixture.curriculum(30, 101, 5)
    assert first != pretraining_mixture.curriculum(30, 101, 6)
    assert first[:30] == pretraining_mixture.basics(30, 5)
