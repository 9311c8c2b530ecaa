"""Putting an ensemble into a directory, and making sure that what is in it answers alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nnstudy.data import Data, Part
from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.packaging.module import MEAN, PROBABILITIES, EnsembleModule
from nnstudy.ensembles.packaging.package import CODE, MEMBERS, Kind, Member, Package
from nnstudy.errors import UserError
from nnstudy.search.rebuilding import find_weights
from nnstudy.search.settings import Settings
from nnstudy.study.sources import Sources
from nnstudy.tracking import environment

_CHECKED = 200  # examples of the selection part
_EXAMPLES = 2  # that are kept as the model's input example
_TOLERANCE = 1e-3  # networks in another order of operations differ less, other networks more


def pack(
    ensemble: Ensemble,
    sources: Sources,
    data: Data,
    settings: Settings,
    fetch: Callable[[str], Path],
    directory: Path,
) -> Package:
    """Writes an ensemble into an empty directory; see ``package`` for what is in it.

    Args:
        ensemble: The ensemble.
        sources: The study's code.
        data: The study's data.
        settings: Where checkpoints are that have been moved.
        fetch: Fetches a checkpoint that is kept in MLflow and returns its file.
        directory: Where to.

    Raises:
        UserError: If weights are missing or are not those that were chosen any more.
    """
    (directory / MEMBERS).mkdir()
    sources.write_to(directory / CODE)
    members = []
    for place, index in enumerate(ensemble.indices):
        candidate, outputs = ensemble.pool.candidates[index], ensemble.pool.outputs[index]
        number, plan = candidate.trial.number, candidate.plan
        file = f"{MEMBERS}/{place:02d}-{plan.stage}-{number}.safetensors"
        found = find_weights(candidate.place, number, plan, settings, fetch)
        try:
            shutil.copyfile(found, directory / file)
        except OSError as error:
            raise UserError(f"the weights {found} cannot be copied: {error}") from error
        members.append(
            Member(
                file=file,
                hash=outputs.hash,
                stage=plan.stage,
                trial=number,
                params=candidate.trial.params,
                # One score is that of the second of two classes, to which 0 is put.
                link="softmax" if outputs.scores.shape[1] == 1 else outputs.link,
                weight=float(ensemble.fitted.weights[index]),
                count=float(ensemble.fitted.counts[index]),
            )
        )
    scale = data.target_normalisation
    package = Package(
        study=ensemble.plan.study,
        digest=ensemble.digest,
        nnstudy=environment().get("nnstudy.env.nnstudy", ""),
        data=data.describe(),
        kind=kind_of(data.train),
        normalisation=data.normalisation.to_dict() if data.normalisation else None,
        target_normalisation=scale.to_dict() if scale else None,
        main=sources.main,
        variable=sources.variable,
        code=sources.per_file,
        plans={member.plan.stage: asdict(member.plan) for member in ensemble.members},
        members=tuple(members),
        combine=ensemble.fitted.combination,
        temperature=ensemble.fitted.temperature,
        noise=ensemble.fitted.noise,
    )
    package.save(directory)
    return package


def refuse_other_answers(module: EnsembleModule, ensemble: Ensemble, data: Data) -> None:
    """Raises UserError where a module does not answer the selection part as the ensemble did."""
    answers = ensemble.pool.answers.to(np.arange(min(_CHECKED, ensemble.pool.answers.examples)))
    wanted = ensemble.fitted.predict(answers).mean
    given = module(raw_examples(data.selection, answers.examples))
    found = given[PROBABILITIES if PROBABILITIES in given else MEAN].cpu()
    if MEAN in given and data.target_normalisation:
        found = data.target_normalisation.standardise(found)
    distance = float(np.abs(found.numpy() - wanted).max())
    if not distance <= _TOLERANCE:
        raise UserError(
            "the networks that the recipe builds without the data answer differently from those"
            f" that were chosen (by up to {distance:.2g}): it builds them by something that is not"
            " kept"
        )


def example_of(data: Data) -> Tensor:
    """Returns the first inputs of the selection part as they came."""
    return raw_examples(data.selection, _EXAMPLES)


def raw_examples(part: Part, count: int) -> Tensor:
    """Returns the first inputs of a part as they came: bytes, float64 or int64."""
    inputs, _ = next(part.minibatches(count, torch.arange(min(count, len(part)))))
    kind = kind_of(part)
    if kind == "indices":
        return inputs
    raw = inputs.double()
    if part.normalisation is not None:
        raw = part.normalisation.restore(raw) * part.normalisation.full_scale
    return raw.round().to(torch.uint8) if kind == "bytes" else raw


def kind_of(part: Part) -> Kind:
    """Tells what the inputs of a part are as they came."""
    held = next(part.raw_inputs(limit=1)).dtype
    if held == torch.uint8:
        return "bytes"
    return "numbers" if held.is_floating_point else "indices"
