"""The models that guide the search, and the search itself. DataFrames and tensors in, numbers out.

Names are imported on first use, so that `import surrogates` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surrogates.core.base import (
        AlreadyToldError,
        HistoryError,
        NoCandidateError,
        NothingToRecommendError,
        Observation,
        OptionError,
        Proposal,
        Recommendation,
        SurrogateError,
        UnknownProposalError,
    )
    from surrogates.evaluation.leave_one_out import judge_early, judge_ranker
    from surrogates.offline.models import OfflineModels
    from surrogates.online.search import Search
    from surrogates.space.encoding import SpaceEncoder
    from surrogates.space.options import SearchOptions

_HOME = {
    "AlreadyToldError": "core.base",
    "HistoryError": "core.base",
    "NoCandidateError": "core.base",
    "NothingToRecommendError": "core.base",
    "Observation": "core.base",
    "OfflineModels": "offline.models",
    "OptionError": "core.base",
    "Proposal": "core.base",
    "Recommendation": "core.base",
    "Search": "online.search",
    "SearchOptions": "space.options",
    "SpaceEncoder": "space.encoding",
    "SurrogateError": "core.base",
    "UnknownProposalError": "core.base",
    "judge_early": "evaluation.leave_one_out",
    "judge_ranker": "evaluation.leave_one_out",
}

__all__ = [
    "AlreadyToldError",
    "HistoryError",
    "NoCandidateError",
    "NothingToRecommendError",
    "Observation",
    "OfflineModels",
    "OptionError",
    "Proposal",
    "Recommendation",
    "Search",
    "SearchOptions",
    "SpaceEncoder",
    "SurrogateError",
    "UnknownProposalError",
    "judge_early",
    "judge_ranker",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'surrogates' has no attribute {name!r}")
    return getattr(importlib.import_module(f"surrogates.{_HOME[name]}"), name)
