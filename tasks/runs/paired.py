"""Two trials of a run on the same validation rows."""

from __future__ import annotations

from tasks.runs.folder import RunFolder, Trial
from trials.evaluation.compare import PairedDifference, paired_difference
from trials.io.errors import SettingsError


def compare_trials(run: RunFolder, one: str, other: str) -> PairedDifference:
    """The difference, row by row, of trials named by their ids or beginnings such as ``003``.

    Raises:
        SettingsError: there is no such trial, or it has no score.
    """
    return paired_difference(_outcomes(run, one), _outcomes(run, other))


def _outcomes(run: RunFolder, name: str) -> list[float]:
    trial = _find(run, name)
    if trial.result is None or not trial.result.outcomes:
        state = trial.result.state if trial.result else "unfinished"
        raise SettingsError(f"trial {trial.spec.trial_id} has no score to compare: it is {state}")
    return trial.result.outcomes


def _find(run: RunFolder, name: str) -> Trial:
    trials = run.trials()
    found = [trial for trial in trials if trial.spec.trial_id.startswith(name)]
    if len(found) != 1:
        known = ", ".join(trial.spec.trial_id[:3] for trial in trials) or "none"
        many = "more than one" if found else "no"
        raise SettingsError(
            f"{many} trial of {run.run_id} begins with {name!r}; there are: {known}"
        )
    return found[0]
