"""A teacher's answers, kept with the run of the stage that learns from them."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from nnstudy.errors import UserError
from nnstudy.search.distillation.lesson import Lesson
from nnstudy.search.plan import Plan
from nnstudy.tracking import Tracker, TrackingAway
from nnstudy.training.checkpoints import CheckpointError, read, write

FILE = "teacher.safetensors"


def hash_of(answers: Tensor) -> str:
    """Returns the BLAKE2b hash of answers, 32 hexadecimal digits."""
    content = answers.contiguous().numpy().tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def keep(tracker: Tracker, run_id: str, answers: Tensor) -> None:
    """Keeps answers among the artifacts of a stage's run.

    Args:
        tracker: MLflow.
        run_id: Of the stage's run.
        answers: ``(N, C)`` or ``(N, K)`` float32, in the order of the stage's training examples.

    Raises:
        TrackingAway: MLflow does not take them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / FILE
        write(file, {"answers": answers})
        if not tracker.run(run_id).log_artifact(file):
            raise TrackingAway(f"MLflow at {tracker.masked_uri} did not take the teacher's answers")


def fetch(tracker: Tracker, plan: Plan) -> Tensor:
    """Returns the answers that a stage learns from.

    Raises:
        TrackingAway: MLflow cannot be reached.
        UserError: If they cannot be had here, or are no longer those that the stage began with.
    """
    run = tracker.run(plan.run_id)
    with tempfile.TemporaryDirectory() as scratch:
        is_there = FILE in run.list_artifacts("")
        path = run.download(FILE, Path(scratch)) if is_there else None
        if path is None:
            raise UserError(
                f"what the ensemble teaches stage {plan.stage!r} of study {plan.study!r}"
                f" ({FILE} with its run in MLflow at {tracker.masked_uri}) cannot be read here."
                " Workers on several machines need artifacts that all of them can reach: an MLflow"
                " server, or --artifacts on a disk that they share"
            )
        try:
            answers = read(path)[0].get("answers")
        except CheckpointError as error:
            raise UserError(f"{FILE} of stage {plan.name!r} is damaged: {error}") from error
    if not isinstance(answers, torch.Tensor) or hash_of(answers) != Lesson.of(plan).answers:
        raise UserError(
            f"{FILE} with the run of stage {plan.name!r} is not what this stage began to learn from"
        )
    return answers
