"""A real language model: trials of SmolLM2-135M, and what was known of them beforehand.

python -m benchmarks.language_model prune MODEL OUT DATASET...   # a proxy with its tokenizer
autopipe collect DATASET --model MODEL --space benchmarks/language_model/space.yaml ...
python -m benchmarks.language_model show
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from flows.cli.errors import friendly_errors
from flows.terminal.console import for_tables, say

HERE = Path(__file__).parent
SPACE, HISTORY = HERE / "space.yaml", HERE / "history"

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)


@app.command()
def prune(
    model: Annotated[str, Argument(help="Folder or Hub id of a decoder in the form of Llama.")],
    out: Annotated[Path, Argument(help="Folder of the smaller model.")],
    datasets: Annotated[list[Path], Argument(help="Folders of datasets whose chats it learns.")],
    layers: Annotated[int, Option(help="Layers that are kept.", min=2)] = 8,
    steps: Annotated[int, Option(help="Of distillation.", min=1)] = 130,
    rows: Annotated[int, Option(help="Chats of each dataset.", min=8)] = 300,
    threads: Annotated[int, Option(help="CPU threads.", min=1)] = 1,
    seed: Annotated[int, Option(help="Of the order of the chats.")] = 0,
) -> None:
    """Write a smaller model with the same tokenizer: fewer layers, then a short distillation."""
    with friendly_errors():
        import torch

        from benchmarks.language_model.prune import make_proxy
        from trials.data.dataset import load_dataset

        torch.set_num_threads(threads)
        chats = [row for each in datasets for row in load_dataset(each).splits["train"][:rows]]
        say(str(make_proxy(model, chats, out, layers, steps, seed, say)))


@app.command()
def show(
    history: Annotated[Path, Option(help="Folder of the trials.")] = HISTORY,
    model: Annotated[str, Option(help="The large one, as the history calls it.")] = "SmolLM2-135M",
    proxy: Annotated[str, Option(help="The small one.")] = "SmolLM2-pruned",
) -> None:
    """Tables of what past runs of tiny models, recipes and the proxy foresaw."""
    with friendly_errors():
        from benchmarks.language_model.tables import tables

        for title, table in tables(history, SPACE, model, proxy).items():
            say(title)
            for_tables().print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    app()
