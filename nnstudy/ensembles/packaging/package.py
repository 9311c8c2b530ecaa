"""What is kept of an ensemble so that it answers anywhere: a directory, and how it is read.

- ``package.json``: the members' parameters and plans, links and weights, the combination and its
  calibration, the normalisation and the names of the classes, hashes of all other files;
- ``members/``: their weights, as safetensors, the checkpoints as they are;
- ``code/``: the study file and the modules of the user's that it imports.

Weights run no code. The study's code is run to rebuild the networks, after its hash is verified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from nnstudy.data import Data, Normalisation
from nnstudy.data.stand_in import stand_in
from nnstudy.ensembles.combination import Combine
from nnstudy.ensembles.packaging.module import (
    ClassCombination,
    EnsembleModule,
    Normalise,
    NumberCombination,
)
from nnstudy.ensembles.packaging.stacking import Layout
from nnstudy.ensembles.predictions import hash_of_file
from nnstudy.errors import UserError
from nnstudy.search.plan import Plan
from nnstudy.search.rebuilding import rebuild_with
from nnstudy.study import Study
from nnstudy.study.kept import load_kept
from nnstudy.study.sources import hash_of_files, read_verified
from nnstudy.training.losses import Link

VERSION = 1
ARTIFACT = "ensemble"
"""What MLflow calls the directory."""

FILE = "package.json"
CODE = "code"
MEMBERS = "members"

Kind = Literal["bytes", "numbers", "indices"]


@dataclass(frozen=True)
class Member:
    """One network of the ensemble.

    Attributes:
        file: Its weights, in the package.
        hash: BLAKE2b of that file.
        stage: Of the study.
        trial: Number of the trial.
        params: The trial's parameters.
        link: What makes probabilities of its scores.
        weight: How much it counts.
        count: How often it was chosen.
    """

    file: str
    hash: str
    stage: str
    trial: int
    params: dict[str, Any]
    link: Link
    weight: float
    count: float

    def as_trial(self) -> FrozenTrial:
        """Returns what the recipe is asked with again."""
        return FrozenTrial(
            number=self.trial,
            trial_id=self.trial,
            state=TrialState.COMPLETE,
            value=None,
            datetime_start=None,
            datetime_complete=None,
            params=self.params,
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )


@dataclass(frozen=True)
class Package:
    """An ensemble, described so that it can be built without the study's storage and data.

    Attributes:
        study: Name of the study.
        digest: Names the ensemble.
        nnstudy: The version that it was packed by.
        data: What the data were.
        kind: What raw inputs are: ``bytes``, ``numbers``, or ``indices``.
        normalisation: Of inputs, as JSON-ready values; None: they have none.
        target_normalisation: Likewise of targets.
        main: Which file of the code holds the study.
        variable: What the study is called in it.
        code: Hash of each file of the code, by path.
        plans: The members' stages, by name.
        members: The networks, the one that counts most first.
        combine: How their answers are made one.
        temperature: Of the combined probabilities.
        noise: Variance of numbers that is no member's.
        layout: How the members are computed.
    """

    study: str
    digest: str
    nnstudy: str
    data: dict[str, Any]
    kind: Kind
    normalisation: dict[str, Any] | None
    target_normalisation: dict[str, Any] | None
    main: str
    variable: str
    code: dict[str, str]
    plans: dict[str, dict[str, Any]]
    members: tuple[Member, ...]
    combine: Combine
    temperature: float
    noise: float
    layout: Layout = field(default_factory=Layout)
    version: int = VERSION

    @property
    def classes(self) -> bool:
        """Whether it answers with classes."""
        return bool(self.data["task"] == "classification")

    @property
    def class_names(self) -> list[str]:
        """What the classes are called."""
        return list(self.data["class_names"])

    @property
    def code_hash(self) -> str:
        """One hash of all its code."""
        return hash_of_files(self.code)

    def save(self, directory: Path) -> None:
        """Writes the description into a directory, beside weights and code."""
        (directory / FILE).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, directory: Path) -> Package:
        """Reads a description; nothing is run.

        Raises:
            UserError: If it is missing, damaged, or of a newer version.
        """
        path = directory / FILE
        try:
            fields = json.loads(path.read_bytes())
            if fields["version"] > VERSION:
                raise UserError(
                    f"the ensemble in {directory} was packed by a newer nnstudy"
                    f" ({fields['nnstudy']}); upgrade"
                )
            members = tuple(Member(**one) for one in fields["members"])
            return cls(**{**fields, "members": members, "layout": Layout(**fields["layout"])})
        except OSError as error:
            raise UserError(f"there is no packed ensemble in {directory}: {error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"the packed ensemble {path} is damaged ({type(error).__name__}: {error})"
            ) from error

    def stand_in(self) -> Data:
        """Returns what stands for the study's data."""
        return stand_in(
            self.data, _normalisation(self.normalisation), _normalisation(self.target_normalisation)
        )

    def build(
        self, directory: Path, say: Callable[[str], None], device: str = "cpu"
    ) -> EnsembleModule:
        """Rebuilds the networks, with the study's code, and puts them together.

        Args:
            directory: Where weights and code are.
            say: Told that code is run, and which, before it is.
            device: Where to compute.

        Raises:
            UserError: If a file is missing or is not what it was when the ensemble was packed, or
                the recipe cannot be asked again.
        """
        return self.assemble(self.networks(directory, say, device)).to(device)

    def assemble(self, networks: Sequence[nn.Module]) -> EnsembleModule:
        """Returns rebuilt networks as one module."""
        data = self.stand_in()
        members = self.layout.arrange(networks, classes=self.classes)
        return EnsembleModule(Normalise(data.normalisation), members, self._combination(data))

    def networks(
        self, directory: Path, say: Callable[[str], None], device: str = "cpu"
    ) -> list[nn.Module]:
        """Rebuilds the members' networks; see ``build``."""
        for member in self.members:
            _verify(directory / member.file, member.hash)
        study, data = self._run_code(directory, say), self.stand_in()
        return [
            rebuild_with(
                directory / member.file,
                study,
                Plan(**self.plans[member.stage]),
                data,
                member.as_trial(),
                device,
            ).network.eval()
            for member in self.members
        ]

    def _run_code(self, directory: Path, say: Callable[[str], None]) -> Study:
        sources = read_verified(directory / CODE, self.main, self.code, self.variable)
        study = load_kept(sources, f"with the ensemble of study {self.study!r}", say)
        return replace(study, name=self.study)

    def _combination(self, data: Data) -> nn.Module:
        votes = self.combine == "vote"
        counted = [one.count if votes else one.weight for one in self.members]
        weights = torch.tensor(counted, dtype=torch.float64)
        if not self.classes:
            return NumberCombination(weights, self.noise, data.target_normalisation)
        links = [member.link for member in self.members]
        return ClassCombination(weights, links, self.combine, self.temperature)


def _verify(path: Path, wanted: str) -> None:
    try:
        found = hash_of_file(path)
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read: {error.strerror or error}") from error
    if found != wanted:
        raise UserError(f"the weights {path} are damaged: their hash is {found}, not {wanted}")


def _normalisation(fields: dict[str, Any] | None) -> Normalisation | None:
    return Normalisation.from_dict(fields) if fields else None
