"""The models that guide the search, and the search itself. DataFrames and tensors in, numbers out.

Names are imported on first use, so that `import surrogates` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surrogates.base import (
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
    from surrogates.encoding import SpaceEncoder
    from surrogates.judge import judge_early, judge_ranker
    from surrogates.offline import OfflineModels
    from surrogates.options import SearchOptions
    from surrogates.search import Search

_HOME = {
    "AlreadyToldError": "base",
    "HistoryError": "base",
    "NoCandidateError": "base",
    "NothingToRecommendError": "base",
    "Observation": "base",
    "OfflineModels": "offline",
    "OptionError": "base",
    "Proposal": "base",
    "Recommendation": "base",
    "Search": "search",
    "SearchOptions": "options",
    "SpaceEncoder": "encoding",
    "SurrogateError": "base",
    "UnknownProposalError": "base",
    "judge_early": "judge",
    "judge_ranker": "judge",
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
