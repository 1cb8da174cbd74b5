"""The program of a warm worker: one launch serves many jobs, each from a clean state.

    accelerate launch -m trials.process.worker INBOX

Importing torch, transformers and TRL costs more than a small trial. What the worker keeps between
trials is the imported code and what depends on data alone; random numbers, memory and Accelerate's
state are as in a new process, so that results are too.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from trials.evaluation.measurement import REQUEST
from trials.io.output import exit_now, output_to
from trials.io.watchdog import end_with_supervisor
from trials.process.inbox import Inbox
from trials.spec.records import TrialSpec, read_record


def main(inbox: Path) -> None:
    """Serves the jobs of an inbox until it is closed."""
    end_with_supervisor()
    # The slow part of the start; the inbox may fill meanwhile.
    from trials.evaluation.probe import ModelCache, try_answer_request
    from trials.models.loading import settle_device
    from trials.training.run import run_trial

    settle_device()
    gc.collect()
    gc.freeze()  # collections between trials need not walk through all that was imported
    models = ModelCache()
    for file in Inbox(inbox).jobs():
        if file.name == REQUEST:
            try_answer_request(file, models)
            continue
        models.drop()  # a trial needs the room
        spec = read_record(file, TrialSpec)
        with output_to(Path(spec.folder) / "log.txt"):
            run_trial(spec)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    exit_now(0)
