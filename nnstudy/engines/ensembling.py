"""Making an ensemble of a stored study, top to bottom: look, predict, choose, measure, keep."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from nnstudy.engines.ensemble_code import load_code
from nnstudy.engines.joining import refuse_missing_tracking, refuse_other_runs
from nnstudy.engines.options import LaunchOptions
from nnstudy.engines.publishing import try_to_publish
from nnstudy.engines.seeds import train_seeds
from nnstudy.ensembles.candidates import (
    Source,
    kept_checkpoints,
    refuse_folds,
    searched,
    top_trials,
)
from nnstudy.ensembles.combination import Combine, fitting
from nnstudy.ensembles.cost import measure_costs
from nnstudy.ensembles.cross_fitting import FEWEST_EXAMPLES, compare
from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.gathering import Gathered, count_of, gather
from nnstudy.ensembles.look import TakenLook, look_once, taken_look
from nnstudy.ensembles.packaging.publishing import Published
from nnstudy.ensembles.pool import fill
from nnstudy.ensembles.predictions import Predictor
from nnstudy.ensembles.procedure import Procedure
from nnstudy.ensembles.selection import Select
from nnstudy.ensembles.tracked import track
from nnstudy.ensembles.ways import measured, other_ways
from nnstudy.ensembles.words import conclusion
from nnstudy.errors import UserError
from nnstudy.search.events import Emit, ignore
from nnstudy.search.interruption import Interruption
from nnstudy.search.keeping import fetch_checkpoint, sibling_checkpoints
from nnstudy.search.opening import load_planned_data
from nnstudy.search.patience import database_errors_explained
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage, storage_url
from nnstudy.search.stored import require_stages
from nnstudy.search.test_looks import test_looks
from nnstudy.secret_urls import mask
from nnstudy.study import Study
from nnstudy.tracking import Tracker

DEFAULT_MEMBERS = 10
_CANDIDATES_PER_MEMBER = 5
_FEWEST_MEMBERS = 2

Warn = Callable[[str], None]


@dataclass(frozen=True)
class EnsembleResult:
    """What came of an ensemble.

    Attributes:
        study: Name of the study.
        ensemble: The ensemble, and what it is worth.
        test: What was seen of the test part, by this ensemble or an earlier one of the study;
            None where nothing was.
        test_looks: How often the study's test part was looked at in all.
        file: Where it is kept.
        run_id: Its MLflow run.
        published: What was made of it that can be used; None where it is not a model.
        exported: The file of ``torch.export``; None where there is none.
        storage: URL of Optuna's storage, its password masked.
        tracking: URI of MLflow, its password masked.
    """

    study: str
    ensemble: Ensemble
    test: TakenLook | None
    test_looks: int
    file: Path
    run_id: str
    published: Published | None
    exported: Path | None
    storage: str
    tracking: str

    def describe(self) -> dict[str, Any]:
        """Returns all there is to tell, as JSON-ready values."""
        return {
            **_told(self.ensemble, self.test),
            "test_looks": self.test_looks,
            "file": str(self.file),
            "run_id": self.run_id,
            "model": self.published and self.published.model.uri,
            "model_version": self.published and self.published.model.version,
            "layout": self.published and asdict(self.published.layout),
            "exported": self.exported and str(self.exported),
            "storage": self.storage,
            "tracking": self.tracking,
        }


def ensemble(
    name: str,
    *,
    sources: Sequence[Source] = ("top-trials",),
    select: Select = "greedy",
    combine: Combine | Literal["weights"] = "probabilities",
    members: int | None = None,
    candidates: int | None = None,
    bags: int = 0,
    seed: int = 0,
    test: bool = False,
    model: bool = True,
    export: Path | None = None,
    study: Study | str | None = None,
    kept_code: bool = False,
    output: Path = Path("mlruns/ensembles"),
    warn: Warn = lambda text: None,
    emit: Emit = ignore,
    interruption: Interruption | None = None,
    **options: Any,
) -> EnsembleResult:
    """Makes one better model of the networks that a search has trained.

    Members are chosen, weighed and calibrated on the selection part of the data; what that is
    worth is measured there too, by folds.

    Args:
        name: Name of the study, as it is stored.
        sources: Where candidates come from.
        select: How members are chosen among them.
        combine: How their answers are made one; numbers have their mean, or ``weighted``.
            ``weights``, to average the weights of several trainings, is refused.
        members: Members at most, each as often as it counts. Default: ten, or what there is.
        candidates: How many of each source are considered, the better ones first. Default: five
            for each member.
        bags: Of greedy selection: in how many random halves it is repeated.
        seed: Where folds and halves come from.
        test: Whether to measure on the test part, once.
        model: Whether to log and register it as a model that can be used.
        export: Where to write that model as a program of ``torch.export``; None: nowhere.
        study: The study, or where it is here: a name, or the path of a study file; default: as
            it was named at its launch.
        kept_code: Whether to run the code that MLflow keeps with the study, after its hash was
            verified, and not a study file that is here.
        output: Where the ensembles of studies are kept.
        warn: Told what should be known of, in words.
        emit: Hears what happens while seeds are trained, one ``Event`` each.
        interruption: Asks for an early end of these trainings.
        options: Fields of ``LaunchOptions`` that say where things are (``storage``,
            ``tracking_uri``, ``artifacts``, ``data_directory``, ``settings``), and what runs the
            workers that train seeds.

    Raises:
        Interrupted: If an end was asked for while seeds were trained; calling again goes on.
        UserError: If there is nothing to make it of, or anything else is wrong that the user can
            put right.
    """
    given = LaunchOptions(**{**options, "name": name, "preflight": False})
    wanted = _Wanted(tuple(dict.fromkeys(sources)), members, candidates)
    wanted.refuse_nonsense(select, bags)
    if kept_code and study is not None:
        raise UserError("--kept-code is the study's code in MLflow: leave out --study, or it")
    if kept_code and "seeds" in wanted.sources:
        raise UserError(
            "--from seeds trains with the study file here: leave out --kept-code, or it"
        )
    if export is not None and not model:
        raise UserError("what is exported is the model: leave out --no-model, or --export")
    with database_errors_explained():
        storage = open_storage(storage_url(given.storage), create=False)
        stored = require_stages(storage, name)
        stages = searched(stored)
        plan = stages[0].plan
        combine = fitting(combine, plan.data["task"])
        refuse_unfit(plan)
        if test and not plan.data["examples"]["test"]:
            raise UserError(f"the test part of {plan.data['name']} is empty")
        refuse_missing_tracking(given)
        ranked = top_trials(stages)
        tracker = Tracker(given.tracking_uri, given.artifacts)
        refuse_other_runs(tracker, plan)
        if "seeds" in wanted.sources:
            train_seeds(stored, wanted.size, study, given, emit, interruption or Interruption())
            stored = require_stages(storage, name)
        found = gather(
            wanted.sources,
            stored,
            ranked,
            wanted.most,
            partial(
                kept_checkpoints,
                settings=given.settings,
                list_artifacts=partial(sibling_checkpoints, tracker),
            ),
        )
        wanted.refuse_too_few(found, select, plan, warn)
        loaded, code = load_code(stages, study, tracker if kept_code else None, warn)
        data = load_planned_data(loaded, plan, directory=given.data_directory)
        with tempfile.TemporaryDirectory() as scratch:
            predictor = Predictor(
                loaded,
                code.hash if code else "",
                data,
                given.settings,
                lambda place: fetch_checkpoint(tracker, place, Path(scratch)),
                output / name,
            )
            pool = fill(ranked, found, wanted.most, predictor)
            for skipped in pool.skipped:
                warn(f"{skipped.candidate} is left out: {skipped.reason}")
            among = pool.among(wanted.sources, select)
            procedure = Procedure(select, combine, wanted.size, bags, seed, among)
            fitted = procedure.fit(pool.answers, procedure.selection(pool.answers).weights)
            made = Ensemble(
                plan,
                predictor.code,
                wanted.sources,
                procedure,
                pool,
                fitted,
                compare(pool.answers, procedure),
                measured(pool, other_ways(pool, wanted.sources, procedure)),
                measure_costs(pool, fitted, predictor),
            )
            look = look_once(storage, stages, made, predictor) if test else taken_look(stages)
        told = _told(made, look)
        file = made.save(output / name, told)
        run_id = track(tracker, made, look, told, file)
        published = (
            try_to_publish(made, code, data, given.settings, tracker, run_id, export, warn)
            if model
            else None
        )
        looks = sum(len(test_looks(stage.optuna_study)) for stage in stored)
    return EnsembleResult(
        study=name,
        ensemble=made,
        test=look,
        test_looks=looks,
        file=file,
        run_id=run_id,
        published=published,
        exported=export if published and not published.not_exported else None,
        storage=mask(storage_url(given.storage)),
        tracking=tracker.masked_uri,
    )


@dataclass(frozen=True)
class _Wanted:
    """Which candidates were asked for, and how many."""

    sources: tuple[Source, ...]
    members: int | None
    candidates: int | None

    def refuse_nonsense(self, select: Select, bags: int) -> None:
        if not self.sources:
            raise UserError(f"an ensemble needs candidates: --from {', '.join(get_args(Source))}")
        if self.members is not None and self.members < _FEWEST_MEMBERS:
            raise UserError(f"an ensemble needs at least two members: --members {self.members}")
        if self.candidates is not None and self.candidates < (self.members or _FEWEST_MEMBERS):
            raise UserError(
                f"--candidates {self.candidates} are fewer than the members that are wanted"
            )
        if bags < 0 or (bags and select != "greedy"):
            raise UserError(f"--bags {bags} belongs to --select greedy, and may not be negative")

    @property
    def size(self) -> int:
        """How many members there may be."""
        return self.members or DEFAULT_MEMBERS

    @property
    def most(self) -> int:
        """How many candidates of each source are asked for their answers."""
        return self.candidates or self.size * _CANDIDATES_PER_MEMBER

    def refuse_too_few(self, found: Gathered, select: Select, plan: Plan, warn: Warn) -> None:
        """Raises UserError where there are fewer candidates than members were asked for."""
        count = count_of(found, select)
        if self.members is not None and count < self.members:
            raise UserError(
                f"{self.members} members were asked for, but {plan.study!r} has kept only"
                f" {count} candidates for them ({', '.join(self.sources)}): ask for fewer, or"
                " search on"
            )
        if count < self.size:
            warn(f"there are only {count} candidates for {self.size} members")


def refuse_unfit(plan: Plan) -> None:
    """Raises UserError where no ensemble can be made of a study, whatever it will have trained.

    Args:
        plan: Of its first stage.
    """
    refuse_folds(plan)
    examples, name = plan.data["examples"]["selection"], plan.data["name"]
    if examples < FEWEST_EXAMPLES:
        raise UserError(
            f"the selection part of {name}, by which members are chosen, has {examples} examples;"
            f" at least {FEWEST_EXAMPLES} are needed. Give the study one (Split(selection=0.25), or"
            " --selection 0.25 at a launch under another name)"
        )


def _told(made: Ensemble, look: TakenLook | None) -> dict[str, Any]:
    return {
        **made.describe(),
        "conclusion": conclusion(made),
        "test": look and {**asdict(look), "outdated": look.digest != made.digest},
    }
