"""The ensemble that teaches: read from its file, its networks asked again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnstudy.ensembles.candidates import Candidate
from nnstudy.ensembles.ensemble import FILE_NAME, VERSION
from nnstudy.ensembles.pool import Pool, among, answers_of
from nnstudy.ensembles.predictions import Outputs, Predictor
from nnstudy.ensembles.procedure import Fitted, Procedure
from nnstudy.errors import UserError
from nnstudy.search.stored import StoredStage


@dataclass(frozen=True)
class TeachingEnsemble:
    """An ensemble as its file tells of it.

    Attributes:
        digest: Names members, weights and calibration.
        made: When.
        procedure: How it was made of candidates.
        candidates: Of which it was made, the best of the search first.
        hashes: Of its members' weights, by their place among the candidates.
        fitted: What was made of them.
    """

    digest: str
    made: datetime
    procedure: Procedure
    candidates: tuple[Candidate, ...]
    hashes: Mapping[int, str]
    fitted: Fitted

    @classmethod
    def read(cls, directory: Path, stages: Sequence[StoredStage]) -> TeachingEnsemble:
        """Reads the ensemble of a study.

        Args:
            directory: Where the study's ensemble is kept.
            stages: The study's stored stages.

        Raises:
            UserError: If there is none, or its file is damaged or of another study than is stored.
        """
        file, plan = directory / FILE_NAME, stages[0].plan
        told = _read(file, plan.study)
        if told["data"]["digest"] != plan.data["digest"]:
            raise UserError(
                f"the ensemble {file} was made on other data than study {plan.study!r} has now."
                f" {_again(plan.study)}"
            )
        try:
            places = [one["checkpoint"] for one in told["candidates"]]
            members = {places.index(one["checkpoint"]): one for one in told["members"]}
            weights, counts = np.zeros((2, len(places)))
            for index, member in members.items():
                weights[index], counts[index] = member["weight"], member["count"]
            # What was written before averages could be members has but one source.
            found = [{"from": told["from"], **one} for one in told["candidates"]]
            candidates = tuple(_candidate(one, stages) for one in found)
            return cls(
                told["digest"],
                datetime.fromtimestamp(file.stat().st_mtime),
                _procedure(told, candidates),
                candidates,
                {index: member["hash"] for index, member in members.items()},
                Fitted(weights, counts, told["combine"], told["temperature"], told["noise"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(file, plan.study, error) from error

    def trials_since(self, stages: Sequence[StoredStage]) -> int:
        """Returns how many trials of the search have ended since it was made."""
        return sum(
            trial.datetime_complete is not None and trial.datetime_complete > self.made
            for stage in stages
            if stage.plan.kind == "search"
            for trial in stage.optuna_study.get_trials(deepcopy=False)
        )

    def ask(self, predictor: Predictor) -> Pool:
        """Asks all candidates for their answers to the selection part.

        Raises:
            UserError: If weights cannot be had any more, or are not what they were; all such are
                named.
        """
        found: list[Outputs] = []
        missing = []
        for index, candidate in enumerate(self.candidates):
            try:
                outputs = predictor.on_selection(candidate)
                if outputs.hash != self.hashes.get(index, outputs.hash):
                    raise UserError("its weights are not those that the ensemble was made of")
            except UserError as error:
                missing.append(f"\n  {candidate}: {error}")
            else:
                found.append(outputs)
        study = predictor.study.name
        if missing:
            raise UserError(
                f"the ensemble of study {study!r} cannot teach, since networks that it was made of"
                f" cannot be had any more:{''.join(missing)}\n{_again(study)}"
            )
        data = predictor.data
        answers = answers_of(
            [one.scores.double().numpy() for one in found],
            [one.link for one in found],
            data.selection,
            data,
        )
        return Pool(self.candidates, tuple(found), answers, ())

    def teach(self, predictor: Predictor, share: float) -> Tensor:
        """Returns what the ensemble answers to the training examples, calibrated.

        Args:
            predictor: Computes what its members answer.
            share: Of the training examples that students are trained on.

        Returns:
            Probabilities ``(N, C)`` or numbers ``(N, K)``, float32.
        """
        members, data = np.flatnonzero(self.fitted.weights), predictor.data
        outputs = [predictor.on_training(self.candidates[index], share) for index in members]
        answers = answers_of(
            [one.scores.double().numpy() for one in outputs],
            [one.link for one in outputs],
            data.with_share(share).train,
            data,
        )
        mean = self.fitted.of(members).predict(answers).mean
        return torch.from_numpy(mean.astype(np.float32))


def _read(file: Path, study: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(file.read_bytes())
        version = int(told["version"])
    except FileNotFoundError as error:
        raise UserError(
            f"study {study!r} has no ensemble to learn from ({file} is missing). Make one first:"
            f" nnstudy ensemble {study}"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(file, study, error) from error
    if version > VERSION:
        raise UserError(f"the ensemble {file} was made by a newer nnstudy; upgrade")
    return told


def _procedure(told: Mapping[str, Any], candidates: Sequence[Candidate]) -> Procedure:
    return Procedure(
        told["select"],
        told["combine"],
        told["members_asked"],
        told["bags"],
        told["seed"],
        among(candidates, told["from"], told["select"]),
    )


def _candidate(told: Mapping[str, Any], stages: Sequence[StoredStage]) -> Candidate:
    """Returns a candidate, as it is stored now."""
    name, number = told["stage"], told["trial"]
    stage = next((stage for stage in stages if stage.plan.stage == name), None)
    trials = stage.optuna_study.get_trials(deepcopy=False) if stage else []
    if stage is None or number >= len(trials) or _as_told(trials[number].params) != told["params"]:
        study = stages[0].plan.study
        raise UserError(
            f"the ensemble of study {study!r} was made of trial {number} of stage {name!r}, which is"
            f" not stored any more as it was then. {_again(study)}"
        )
    return Candidate(
        stage.plan,
        trials[number],
        math.nan if told["value"] is None else told["value"],
        told["checkpoint"],
        tuple(told["from"]),
        tuple(told.get("averaged", ())),
    )


def _as_told(params: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(params))


def _damaged(file: Path, study: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}"
    return UserError(f"the ensemble {file} cannot be read ({reason}). {_again(study)}")


def _again(study: str) -> str:
    return f"Make it again: nnstudy ensemble {study}"
