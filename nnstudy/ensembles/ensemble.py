"""An ensemble that was made of a study, and the file in which it is kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnstudy.ensembles.answers import Index
from nnstudy.ensembles.candidates import Candidate, Source
from nnstudy.ensembles.cost import Costs
from nnstudy.ensembles.cross_fitting import Comparison
from nnstudy.ensembles.diversity import Diversity, diversity
from nnstudy.ensembles.measures import Measures
from nnstudy.ensembles.pool import Pool
from nnstudy.ensembles.procedure import Fitted, Procedure
from nnstudy.ensembles.uncertainty import errors_of_the_surest
from nnstudy.errors import UserError
from nnstudy.search.plan import Plan
from nnstudy.training.checkpoints.atomic_write import write_atomically

FILE_NAME = "ensemble.json"
VERSION = 1
SUREST = 0.9
"""The share of the answers whose error is told apart: those that it is surest of."""


@dataclass(frozen=True)
class Ensemble:
    """An ensemble, and what it is worth.

    Attributes:
        plan: Of the study's first stage: its data and its metric.
        code: Hash of the sources that the networks were rebuilt with.
        sources: Where candidates were taken from.
        procedure: How it was made of them.
        pool: The candidates.
        fitted: What was made of them, on the whole selection part.
        comparison: What such an ensemble is worth, measured on folds.
        ways: What others of the same candidates are worth, by what else could be asked for.
        costs: What its answers cost.
    """

    plan: Plan
    code: str
    sources: tuple[Source, ...]
    procedure: Procedure
    pool: Pool
    fitted: Fitted
    comparison: Comparison
    ways: Mapping[str, Measures]
    costs: Costs

    @property
    def indices(self) -> Index:
        """Which of the candidates are members, those that count most first."""
        weights = self.fitted.weights
        order = np.argsort(-weights, kind="stable")
        return np.asarray(order[weights[order] > 0])

    @property
    def members(self) -> list[Candidate]:
        """The members, those that count most first."""
        return [self.pool.candidates[index] for index in self.indices]

    @property
    def class_names(self) -> list[str]:
        """What the classes are called, in the order of their labels; empty for numbers."""
        return [str(name) for name in self.plan.data["class_names"]]

    @cached_property
    def diversity(self) -> Diversity:
        """How far the members differ on the selection part."""
        return diversity(self.pool.answers.of(self.indices))

    @property
    def digest(self) -> str:
        """Names members, weights and calibration: 32 hexadecimal digits."""
        return hashlib.blake2b(json.dumps(self._recipe()).encode(), digest_size=16).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Returns all there is to tell, as JSON-ready values."""
        compared = self.comparison
        return {
            "version": VERSION,
            "study": self.plan.study,
            "digest": self.digest,
            "data": self.plan.data,
            "metric": self.plan.metric,
            "code": self.code,
            "from": list(self.sources),
            "select": self.procedure.select,
            "members_asked": self.procedure.size,
            "bags": self.procedure.bags,
            "seed": self.procedure.seed,
            **self._recipe(),
            "candidates": [candidate.describe() for candidate in self.pool.candidates],
            "skipped": [asdict(one) for one in self.pool.skipped],
            "rows": {name: row.describe() for name, row in compared.rows.items()},
            "ways": {
                name: {**row.numbers, "interval_95": asdict(row.interval)}
                for name, row in self.ways.items()
            },
            "mean_member": compared.mean_member,
            "gain": asdict(compared.gain),
            "nll_gain": asdict(compared.nll_gain),
            "curve": [asdict(point) for point in compared.curve],
            **asdict(self.diversity),
            "uncertainty": self.uncertainty,
            "costs": asdict(self.costs),
        }

    @property
    def uncertainty(self) -> dict[str, float]:
        """How unsure it is on average, and its error with and without what it is least sure of."""
        unsure, errors = self.comparison.uncertainty, self.comparison.final.errors
        kept = errors_of_the_surest(errors, unsure.total)
        return {
            "total": float(unsure.total.mean()),
            "disagreement": float(unsure.disagreement.mean()),
            "error": float(errors.mean()),
            "error_of_the_surest": float(kept[math.ceil(SUREST * len(kept)) - 1]),
        }

    def save(self, directory: Path, told: Mapping[str, Any]) -> Path:
        """Keeps what is told of it in a directory, and returns the file.

        Raises:
            UserError: If it cannot be written.
        """
        path = directory / FILE_NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(told, indent=2).encode())
        except OSError as error:
            raise UserError(
                f"the ensemble cannot be written to {path} ({error.strerror or error}); give"
                " another place with --output"
            ) from error
        return path

    def _recipe(self) -> dict[str, Any]:
        """Returns what it takes to predict with it."""
        outputs, fitted = self.pool.outputs, self.fitted
        return {
            "combine": fitted.combination,
            "temperature": fitted.temperature,
            "noise": fitted.noise,
            "members": [
                {
                    **self.pool.candidates[index].describe(),
                    "link": outputs[index].link,
                    "hash": outputs[index].hash,
                    "weight": float(fitted.weights[index]),
                    "count": float(fitted.counts[index]),
                }
                for index in self.indices
            ],
        }
