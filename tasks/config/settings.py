"""Settings of the flows: one home each, checked all at once before any compute is spent."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from surrogates.space.options import WITH_LEVELS, Strategy
from tasks.config.names import checked_store, short_name
from tasks.config.options import DEVICES, Option, Options
from trials.io.redact import has_secret
from trials.spec.records import Compute, Limits, Schedule, Settings, StoppingRules

# Descriptions of fields are shown in forms, by --help and in docs/settings.md.
DATASET = "Catalog name, folder or file of rows."
SPACE = "Search space: a name in data/spaces, or a ConfigSpace YAML or JSON file"
EXAMPLE_MODEL = "tiny-100k"  # of commands that name none; benchmarks/examples.py says why

NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
LONGEST_SECONDS = 366 * 86_400.0
# Of a budget, which holds the default configuration at least, as it comes first in every run.
LIMITS = {
    "seconds": (1.0, "1 s", LONGEST_SECONDS, "366 days"),
    "trials": (2.0, "2 trials, the default configuration being the first", 1e6, "a million"),
    "full": (1.0, "1 full, which is what the default configuration takes", 1e6, "a million"),
}

# Fields of all kinds of runs.
Seed = Annotated[int, Option(), Field(ge=0, le=2**32 - 1)]  # as all libraries take them
Model = Annotated[
    str,
    Option(default=EXAMPLE_MODEL),
    Field(description="Catalog name, folder, .gguf file or Hub id."),
]
Space = Annotated[
    str,
    Option(),
    Field(description=f"{SPACE}; auto: for the model's size, by published recipes."),
]
AllowRates = Annotated[
    bool,
    Option(),
    Field(description="Allow a space whose learning rates are far too high by recipes."),
]
Parallel = Annotated[
    int,
    Option(computed_default="as GPUs allow, else 2"),
    Field(ge=1, le=1024, description="Trials that run at the same time."),
]
Threads = Annotated[
    int | None,
    Option(panel=DEVICES),
    Field(ge=1, le=4096, description="CPU threads per trial; default: its share of the cores."),
]
Retries = Annotated[int, Field(ge=0, le=100, description="Retries of a trial that crashed.")]
TrialSchedule = Annotated[
    Schedule,
    Options(
        total_steps=Option("steps"),
        max_length=Option(),
        max_completion_tokens=Option("max-completion"),
        eval_rows=Option(),
        eval_batch_size=Option("eval-batch"),
        micro_batch_size=Option("micro-batch"),
        pass_k=Option(),
        pass_samples=Option(computed_default="8, or k if that is more"),
    ),
    Field(description="A trial at full length, and how it is measured."),
]
TrialStopping = Annotated[
    StoppingRules, Field(description="When the training dynamics stop a trial.")
]
TrialLimits = Annotated[
    Limits,
    Options(
        silent_seconds=Option("silent-after", DEVICES),
        checkpoint_seconds=Option("checkpoint-every", DEVICES),
    ),
    Field(description="When a trial that hangs or takes too long is ended."),
]
TrialCompute = Annotated[
    Compute,
    Options(
        precision=Option(panel=DEVICES),
        gradient_checkpointing=Option(panel=DEVICES),
        vllm=Option(panel=DEVICES),
    ),
    Field(description="How a trial uses its device."),
]


class Budget(Settings):
    """The budget of a run: wall-clock time, trials, or full-trial equivalents.

    A full-trial equivalent is the compute (FLOPs) of the default configuration at full length, so
    a trial stopped at a third of it costs about a third.
    """

    amount: float = Field(gt=0, description="How many of the unit.")
    unit: Literal["seconds", "trials", "full"] = Field(
        description="Seconds, trials, or full: the compute of default trials at full length."
    )

    @model_validator(mode="after")
    def _can_be_spent(self) -> Self:
        least, why, most, limit = LIMITS[self.unit]
        if self.amount < least:
            raise ValueError(f"budget: {self.amount:g} {self.unit}: at least {why}")
        if self.amount > most:
            raise ValueError(f"budget: {self.amount:.10g} {self.unit}: at most {limit}")
        if self.unit == "trials" and self.amount != int(self.amount):
            raise ValueError(
                f"budget: {self.amount:g} trials: expected a whole number of trials, or "
                f"full-trial equivalents as '{self.amount:g} full'"
            )
        return self

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads ``25m``, ``1h30m``, ``90s``, ``12`` or ``12 trials``, ``8 full``.

        Raises:
            ValueError: for anything else.
        """
        text = text.strip().lower()
        if match := re.fullmatch(r"(\d{1,9})(?: ?trials?)?", text, re.ASCII):
            return cls(amount=float(match[1]), unit="trials")
        if match := re.fullmatch(rf"({NUMBER}) ?full", text, re.ASCII):
            return cls(amount=float(match[1]), unit="full")
        parts = re.fullmatch(rf"(?:({NUMBER})h)?(?:({NUMBER})m)?(?:({NUMBER})s)?", text, re.ASCII)
        if parts and any(parts.groups()):
            hours, minutes, seconds = (float(part or 0) for part in parts.groups())
            return cls(amount=3600 * hours + 60 * minutes + seconds, unit="seconds")
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise ValueError(
            f"budget {shown!r} is not understood; expected a time (25m, 1h30m), a number of trials "
            "(12) or full-trial equivalents (8 full)"
        )

    def __str__(self) -> str:
        if self.unit == "trials":
            return f"{self.amount:g} trials"
        if self.unit == "full":
            return f"{self.amount:g} full-trial equivalents"
        minutes, seconds = divmod(round(self.amount), 60)
        hours, minutes = divmod(minutes, 60)
        parts = [f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n]
        return "".join(parts)


class TuneSettings(Settings):
    """All settings of one tune run."""

    # An error must not repeat a URL with a password.
    model_config = ConfigDict(hide_input_in_errors=True)

    dataset: str = Field(description=DATASET)
    model: Model
    proxies: Annotated[tuple[str, ...], Option("proxy")] = Field(
        (),
        description="Smaller model of the same family to try configurations on first; auto: those "
        "of the catalog, or on the Hub by its naming. May be repeated.",
    )
    space: Space = "auto"
    budget: Annotated[Budget, Option()] = Field(
        Budget(amount=12, unit="trials"),
        description="What may be spent: time (25m, 1h30m), trials (12) or compute ('8 full').",
    )
    parallel: Parallel = 2
    seed: Seed = Field(0, description="Same seed, same proposals.")
    strategy: Annotated[Strategy, Option()] = Field(
        "autopipe", description="How the next trial is chosen."
    )
    schedule: TrialSchedule = Schedule()
    stopping: TrialStopping = StoppingRules()
    limits: TrialLimits = Limits()
    compute: TrialCompute = Compute()
    test_rows: Annotated[int, Option()] = Field(
        400, ge=10, le=10_000_000, description="Test rows of the final measurement."
    )
    retries: Retries = 1
    finalist_share: float = Field(
        0.25, ge=0, lt=1, description="Share of the budget for finishing the best trials."
    )
    early_stopping: Annotated[bool, Option()] = Field(
        True, description="Stop trials early, by the early predictor."
    )
    threads: Threads = None
    gpus_per_trial: Annotated[int | None, Option(panel=DEVICES)] = Field(
        None, ge=1, le=1024, description="GPUs per trial; default: shared out evenly."
    )
    accelerate_config: Annotated[str | None, Option(panel=DEVICES)] = Field(
        None, description="File for accelerate launch: FSDP, DeepSpeed, several nodes."
    )
    trials_per_worker: int = Field(
        50, ge=1, le=1_000_000, description="Trials of a worker process before it is replaced."
    )
    disk_gigabytes: Annotated[float, Option("disk", DEVICES)] = Field(
        50.0, gt=0, le=1e6, description="Gigabytes that the run's checkpoints may take."
    )
    allow_user_code: Annotated[bool, Option()] = Field(
        False, description="Allow rewards named as module:function, which run your code."
    )
    allow_rates: AllowRates = False
    use_history: Annotated[bool, Option()] = Field(True, description="Learn from past runs.")
    trials_on: Annotated[str, Option(panel=DEVICES)] = Field(
        "here",
        description="Where trials run: here, workers (Prefect's), dask, or a scheduler's address.",
    )
    store: Annotated[str | None, Option(panel=DEVICES)] = Field(
        None, description="fsspec URL to copy run folders to; workers then need no shared disk."
    )

    @property
    def title(self) -> str:
        """Dataset, model and budget, as runs are called in the UI."""
        return f"{short_name(self.dataset)} · {short_name(self.model)} · {self.budget}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_pass_at_k(self.schedule)
        if self.proxies and self.budget.unit == "trials":
            default = "" if "budget" in self.model_fields_set else " (the default)"
            raise ValueError(
                f"budget: {self.budget}{default}: a trial of a proxy costs a fraction of one, so "
                "with a proxy expected a time (30m) or full-trial equivalents (6 full)"
            )
        if self.proxies and self.strategy not in WITH_LEVELS:
            raise ValueError(
                f"strategy: {self.strategy} has no use for a proxy; expected autopipe or gp"
            )
        if not re.fullmatch(r"here|workers|dask|(tcp|tls|ucx|ws|wss)://\S+", self.trials_on):
            raise ValueError(
                f"trials_on: {self.trials_on!r} is not here, workers, dask or an address such as "
                "tcp://10.0.0.1:8786"
            )
        if self.store is None:
            return self
        if has_secret(self.store):
            raise ValueError(
                "store: the URL has a password, which would be kept in run.json and on Prefect's "
                "pages; pass it in the environment, such as FSSPEC_SFTP_PASSWORD, or use a key"
            )
        try:
            checked_store(self.store)
        except ValueError as error:
            raise ValueError(f"store: {error}") from None
        if self.trials_on not in ("here", "workers"):
            raise ValueError("store: only for trials_on here or workers; Dask shares the folder")
        return self


class CollectSettings(Settings):
    """All settings of one collect run: a space-filling design over datasets and models."""

    datasets: list[str] = Field(
        min_length=1, max_length=10_000, description="Catalog names, folders or files of rows."
    )
    model: Model
    space: Space = "auto"
    configurations: Annotated[int, Option()] = Field(
        30, ge=1, le=100_000, description="Configurations for each dataset."
    )
    parallel: Parallel = 2
    seed: Seed = Field(0, description="Seed of the training and of the design.")
    design_seed: Seed | None = Field(
        None,
        description="Seed of the design; default: the seed. Vary the latter alone to see noise.",
    )
    schedule: TrialSchedule = Schedule()
    stopping: TrialStopping = StoppingRules(enabled=False)
    limits: TrialLimits = Limits()
    compute: TrialCompute = Compute()
    threads: Threads = None
    retries: Retries = 1
    allow_rates: AllowRates = False

    @property
    def title(self) -> str:
        """Datasets, model and configurations, as runs are called in the UI."""
        names = ", ".join(map(short_name, self.datasets[:3]))
        more = f" and {len(self.datasets) - 3} more" if len(self.datasets) > 3 else ""
        return f"{names}{more} · {short_name(self.model)} · {self.configurations} each"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_pass_at_k(self.schedule)
        return self


def _check_pass_at_k(schedule: Schedule) -> None:
    """The estimate of pass@k needs k samples of a row at least."""
    if schedule.pass_k is not None and schedule.pass_k > schedule.pass_samples:
        raise ValueError(
            f"schedule.pass_k: {schedule.pass_k} is more than the schedule.pass_samples of "
            f"{schedule.pass_samples}"
        )
