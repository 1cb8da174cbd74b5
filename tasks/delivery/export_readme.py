"""The texts of the export: ``best/README.md``, and scripts for what TRL's command line lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.output.templates import environment
from trials.spec.records import Stage

if TYPE_CHECKING:
    from tasks.delivery.export import Export

COMMANDS: dict[Stage, str] = {"sft": "sft", "dpo": "dpo", "rl": "grpo"}  # of TRL, by stage
COMMAND = "trl {0} --config {0}.yaml --accelerate_config accelerate.yaml"


def readme(export: Export) -> str:
    """Contents of the folder, its scores, how to train it again, and what differs then."""
    return render(
        "README.md",
        export=export,
        info=export.info,
        summary=export.summary,
        execution=export.execution,
        base_is_local=Path(export.base_model).is_absolute(),
        commands=COMMANDS,
        command=COMMAND.format,
    )


def render(name: str, **context: Any) -> str:
    """A file of the export from its template. They are Markdown and Python: nothing is escaped."""
    return (
        environment("tasks.delivery", {"repr": repr}).get_template(f"{name}.jinja").render(context)
    )
