"""The run folder: settings, choices, metrics and model of one training.

``docs/run-folder.md`` describes every file and key. A run is prepared in a hidden folder beside its
place and renamed when it is finished, so a folder that holds a ``run.json`` is complete.
"""

from finetune.runs.folder import PARTS, RunFolder, check_out
from finetune.runs.machine import Environment, environment
from finetune.runs.record import (
    SCHEMA,
    DataCopies,
    Leaderboard,
    LeaderboardRow,
    NotTried,
    Reference,
    Run,
    RunData,
    RunSplit,
)
from finetune.runs.tables import MetricsLog, Prediction, read_metrics, read_predictions, write_predictions
from finetune.runs.unfinished import Unfinished

__all__ = [
    "PARTS",
    "SCHEMA",
    "DataCopies",
    "Environment",
    "Leaderboard",
    "LeaderboardRow",
    "MetricsLog",
    "NotTried",
    "Prediction",
    "Reference",
    "Run",
    "RunData",
    "RunFolder",
    "RunSplit",
    "Unfinished",
    "check_out",
    "environment",
    "read_metrics",
    "read_predictions",
    "write_predictions",
]
