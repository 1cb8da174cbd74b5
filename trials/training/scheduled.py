"""TRL's trainers with learning-rate schedules that transformers does not have."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import Trainer
from trl import DPOTrainer, SFTTrainer

from trials.spec.schedules import Share


class OwnSchedule(Trainer):
    """A trainer whose learning rate may follow a schedule of our own."""

    rate_share: Share | None = None

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LRScheduler:
        """The trial's own schedule, whose state is the number of steps; else transformers'."""
        if self.rate_share is not None and self.lr_scheduler is None:
            scheduled = optimizer or self.optimizer
            assert scheduled is not None  # transformers makes it before its schedule
            self.lr_scheduler = LambdaLR(scheduled, self.rate_share)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)


class ScheduledSFTTrainer(OwnSchedule, SFTTrainer):
    """TRL's trainer of SFT with any schedule."""


class ScheduledDPOTrainer(OwnSchedule, DPOTrainer):
    """TRL's trainer of DPO with any schedule."""
