"""Other ways to make an ensemble of the same candidates, side by side with the one asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from nnstudy.ensembles.candidates import Source
from nnstudy.ensembles.combination import Combine
from nnstudy.ensembles.cross_fitting import worth
from nnstudy.ensembles.measures import Measures
from nnstudy.ensembles.pool import Pool
from nnstudy.ensembles.procedure import Procedure
from nnstudy.ensembles.selection import Select

_OF_NUMBERS: tuple[Combine, ...] = ("probabilities", "weighted")


def other_ways(pool: Pool, sources: Sequence[Source], procedure: Procedure) -> dict[str, Procedure]:
    """Returns what else could have been asked for, one thing changed at a time, as it is typed.

    That is each source alone where there are several, each other way of choosing, and each other
    way of combining that the data allow.

    Args:
        pool: The candidates.
        sources: What was asked for.
        procedure: How an ensemble is made of them.
    """
    ways: dict[str, Procedure] = {}
    for source in sources if len(sources) > 1 else ():
        if among := pool.among([source], procedure.select):
            ways[f"--from {source}"] = replace(procedure, among=among)
    for select in get_args(Select):
        among = pool.among(sources, select)
        ways[f"--select {select}"] = replace(procedure, select=select, bags=0, among=among)
    is_classes = pool.answers.probabilities is not None
    for combination in get_args(Combine) if is_classes else _OF_NUMBERS:
        ways[f"--combine {combination}"] = replace(procedure, combination=combination)
    asked = f"--select {procedure.select}", f"--combine {procedure.combination}"
    return {name: way for name, way in ways.items() if name not in asked}


def measured(pool: Pool, ways: dict[str, Procedure]) -> dict[str, Measures]:
    """Returns what each way is worth, by the folds and with the calibration of the one asked for."""
    return {name: worth(pool.answers, way) for name, way in ways.items()}
