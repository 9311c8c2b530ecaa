"""Where the candidates of an ensemble come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from nnstudy.ensembles.averages import Average, last_epochs
from nnstudy.ensembles.candidates import Candidate, Source, reinitialised
from nnstudy.ensembles.pool import among
from nnstudy.ensembles.selection import Select
from nnstudy.errors import UserError
from nnstudy.search.stored import StoredStage

Kept = Callable[[Candidate], list[Candidate]]
"""Returns all weights that the trial of a candidate has kept, the candidate first."""

Gathered = Mapping[Source, Sequence[Candidate | Average]]


def gather(
    sources: Sequence[Source],
    stages: Sequence[StoredStage],
    ranked: Sequence[Candidate],
    most: int,
    kept: Kept,
) -> Gathered:
    """Returns candidates by what was asked for, the better ones first.

    Args:
        sources: What was asked for.
        stages: All that are stored of the study.
        ranked: The trials of the search, the best one first.
        most: How many of a source are looked for where that takes looking for.
        kept: Looks for what a trial has kept.

    Raises:
        UserError: If averages are asked for and nothing was kept to make them of.
    """
    found: dict[Source, Sequence[Candidate | Average]] = {}
    for source in sources:
        if source == "top-trials":
            found[source] = ranked
        elif source == "seeds":
            found[source] = reinitialised(stages)
        elif source == "checkpoints":
            found[source] = epochs(kept(ranked[0]))
        else:
            found[source] = averages(ranked, most, kept)
    return found


def count_of(gathered: Gathered, select: Select) -> int:
    """Returns how many candidates there are that may be members, see ``among``."""
    keys: set[str] = set()
    for source, candidates in gathered.items():
        told = [replace(one, sources=(source,)) for one in candidates if isinstance(one, Candidate)]
        keys |= {told[index].key for index in among(told, [source], select)}
        keys |= {one.key for one in candidates if isinstance(one, Average)}
    return len(keys)


def epochs(kept: Sequence[Candidate]) -> list[Candidate]:
    """Returns the epochs that a trial has kept: the best, then low points, then the others.

    The later ones come first, as those of warm restarts do in Huang et al. 2017, "Snapshot
    ensembles: train 1, get M for free", section 3.

    Args:
        kept: All weights that it has kept, its best first; averages are left out.
    """
    later_first = sorted(kept[1:], key=lambda one: one.checkpoint.epoch or 0.0, reverse=True)
    low_points_first = sorted(later_first, key=lambda one: one.checkpoint.kind != "cycle")
    different: dict[tuple[int | None, float | None], Candidate] = {}
    for one in [kept[0], *low_points_first]:
        if one.checkpoint.kind != "average":
            different.setdefault((one.checkpoint.repeat, one.checkpoint.epoch), one)
    return list(different.values())


def averages(ranked: Sequence[Candidate], most: int, kept: Kept) -> list[Candidate | Average]:
    """Returns averages of weights, each of one training, those of the best trial first.

    They are the exponential moving average that a trial has kept, and the uniform one over the
    last epochs that it has kept.

    Raises:
        UserError: If there is none.
    """

    def found() -> Iterator[Candidate | Average]:
        for best in ranked[:most]:
            there = kept(best)
            yield from (one for one in there if one.checkpoint.kind == "average")
            spaced = [one for one in there if one.checkpoint.kind == "spaced"]
            for repeat in {one.checkpoint.repeat: None for one in spaced}:
                uniform = last_epochs([one for one in spaced if one.checkpoint.repeat == repeat])
                if uniform is not None:
                    yield uniform

    averaged = list(islice(found(), most))
    if not averaged:
        plan = ranked[0].plan
        raise UserError(
            f"study {plan.study!r} has kept nothing that could be averaged: no trial keeps a moving"
            " average of its weights, and none has kept two epochs. Launch it with Recipe(average="
            f"0.999), or nnstudy launch {plan.reference} --keep-every 1 --name {plan.study}-kept"
        )
    return averaged
