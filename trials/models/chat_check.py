"""Renders rows with a model's own chat template, in a process of its own, before a run begins.

    python -m trials.models.chat_check REQUEST.json ANSWER.json

A chat template is a program out of a model folder. Jinja's sandbox keeps it from files and names,
but not from loops that never end: the operating system ends this process when a row has taken
``ROW_SECONDS`` of a processor, and gives it no more than ``MEMORY_BYTES``. The answer says which
row was last looked at, so the parent knows on which one it ended.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trials.data.dataset import render
from trials.data.lengths import token_counts
from trials.data.messages import Message, common_beginning
from trials.io.errors import AutoPipeError, ModelError
from trials.io.problems import short
from trials.io.watchdog import end_with_supervisor
from trials.models.check import check_folder

WRITTEN = ("tool_calls", "reasoning_content", "thinking")  # names and ids need not be
ROW_SECONDS = 3.0  # of processor time
MEMORY_BYTES = 4 * 2**30  # beyond what is used when the first row comes
SHOWN = 80


class Lost(Exception):
    """The template does not write all of a row; the text says what is missing."""


def check_rows(
    tokenizer: Any, rows: Sequence[Mapping[str, Any]], answer: Path, context: int
) -> None:
    """Renders rows and writes what is wrong with the first bad one into ``answer``.

    Args:
        tokenizer: whose template is used.
        rows: each with ``prompt`` and ``completion``, messages, and ``field``, the latter's name.
        answer: gets ``{"row", "problem"}``, or ``{"row"}`` while a row is looked at; in the end
            the ``lengths`` of all rows in tokens, and the ``context``.
        context: tokens that the model takes.
    """

    def tell(**found: object) -> None:
        answer.write_text(json.dumps(found), encoding="utf-8")

    texts = []
    for index, row in enumerate(rows):
        tell(row=index)
        signal.setitimer(signal.ITIMER_PROF, ROW_SECONDS)
        try:
            texts.append(check_row(tokenizer, row["prompt"], row["completion"], row["field"]))
        except Lost as lost:
            tell(row=index, problem=str(lost))
            return
    signal.setitimer(signal.ITIMER_PROF, 0)
    tell(counting=True)
    tell(lengths=token_counts(tokenizer, texts), context=context)


def check_row(tokenizer: Any, prompt: list[Message], completion: list[Message], field: str) -> str:
    """Looks for what a row says in what the template makes of it.

    White space may differ. Earlier turns of the assistant may be shortened: templates of reasoning
    models leave out the thoughts of all turns but the last.

    Returns:
        The whole row as the template writes it.

    Raises:
        Lost: saying what is not there, or what the template raised.
    """
    try:
        before = render(tokenizer, prompt, generation_prompt=True)
        start = render(tokenizer, prompt)
        whole = render(tokenizer, prompt + completion)
    except MemoryError:
        raise Lost("the chat template takes more memory than there is") from None
    except Exception as error:  # a template raises whatever its author wrote
        raise Lost(f"the chat template refuses the row: {short(error)}") from None
    _check_texts(prompt, "prompt", _plain(before))
    _check_texts(completion, field, _plain(whole[common_beginning(start, whole) :]))
    return whole


def _check_texts(messages: list[Message], field: str, text: str) -> None:
    for index, message in enumerate(messages):
        if field == "prompt" and message["role"] == "assistant":
            continue
        where = f"message {index} of {field}" if len(messages) > 1 else field
        content = _plain(message["content"])
        if content not in text:
            raise Lost(f"the chat template leaves out {_lost(content, text)!r} of {where}")
        for key in WRITTEN:
            for leaf in _leaves(message.get(key)):
                if _plain(leaf) not in text and _plain(json.dumps(leaf)[1:-1]) not in text:
                    raise Lost(f"the chat template leaves out {leaf[:SHOWN]!r} of {key} of {where}")


def _leaves(value: Any, key: str = "") -> list[str]:
    """Texts and numbers that a template has to write; kinds and ids of calls it need not."""
    if isinstance(value, dict):
        return [leaf for name, each in value.items() for leaf in _leaves(each, name)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each, key)]
    if key in ("type", "id") or value is None or isinstance(value, bool):
        return []
    if key == "arguments" and isinstance(value, str):
        try:
            return _leaves(json.loads(value))
        except ValueError:
            return [value]
    return [str(value)]


def _lost(content: str, text: str) -> str:
    """The part of a content between its longest beginning and longest end that are there."""
    lengths = range(1, len(content) + 1)
    first = bisect_left(lengths, True, key=lambda n: content[:n] not in text)
    lengths = range(1, len(content) - first + 1)
    last = bisect_left(lengths, True, key=lambda n: content[len(content) - n :] not in text)
    first = content.rfind(" ", 0, first) + 1  # the "<" of "<think>" is found in any text
    lost = content[first : len(content) - last].strip() or content
    return lost if len(lost) <= SHOWN else f"{lost[:SHOWN]}..."


def _plain(text: str) -> str:
    return " ".join(text.split())


def check_model(model: str, tokenizer: Any) -> None:
    """Compares the tokenizer and the kind of a model with what the folder holds.

    Raises:
        ModelError: for tokens without embeddings, and for what is no causal language model.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    from trials.models.tokenizer import load_config

    config = load_config(model)
    listed = [[value] if isinstance(value, str) else value for value in CAUSAL.values()]
    kinds = {name.casefold() for names in listed for name in names}
    named = [name for name in config.architectures or [] if isinstance(name, str)]
    if config.model_type not in CAUSAL or (
        named and not kinds.intersection(name.casefold() for name in named)
    ):
        raise ModelError(
            f"{model!r} is {', '.join(named) or config.model_type}, not a causal language model\n"
            "  expected: a model that writes text from left to right, such as LlamaForCausalLM"
        )
    rows = check_folder(Path(model)).vocabulary
    rows = rows or getattr(config.get_text_config(), "vocab_size", None)
    ids = tokenizer.get_vocab()
    token = max(ids, key=ids.__getitem__, default=None)
    if rows is not None and token is not None and ids[token] >= rows:
        raise ModelError(
            f"the tokenizer of {model!r} has ids up to {ids[token]} ({token!r}), and the model "
            f"embeds only {rows}\n  expected: a model whose embeddings were resized with "
            "resize_token_embeddings after tokens were added"
        )


def main(request_file: Path, answer_file: Path) -> None:
    """Checks the model and the rows of a request."""
    from trials.models.tokenizer import context_limit, load_config, load_tokenizer

    end_with_supervisor()
    request = json.loads(request_file.read_text(encoding="utf-8"))
    try:
        tokenizer = load_tokenizer(request["model"])
        check_model(request["model"], tokenizer)
        context = context_limit(load_config(request["model"]))
    except AutoPipeError as refusal:
        answer_file.write_text(json.dumps({"refusal": str(refusal)}), encoding="utf-8")
        return
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _bound_memory()
    check_rows(tokenizer, request["rows"], answer_file, context)


def _bound_memory() -> None:
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: the time alone is bounded
        return
    used = next(line for line in status.read_text().splitlines() if line.startswith("VmData"))
    limit = int(used.split()[1]) * 1024 + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    # Tokenizers need no PyTorch, and importing it takes longer than the whole check.
    sys.modules["torch"] = None  # type: ignore[assignment]
    main(Path(sys.argv[1]), Path(sys.argv[2]))
