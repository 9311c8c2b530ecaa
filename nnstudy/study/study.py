"""A study: what is searched, on which data, for which metric, in which stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from nnstudy.data import Data, Split
from nnstudy.errors import UserError
from nnstudy.study.limits import Limit, checked_limits
from nnstudy.study.names import validate_name
from nnstudy.study.stage import Stage, coarse_to_fine
from nnstudy.training import EarlyStopping, OwnLoop, Recipe

if TYPE_CHECKING:
    import optuna

RecipeFunction = Callable[["optuna.Trial", Data], Recipe | OwnLoop | Iterable[Mapping[str, float]]]
Direction = Literal["minimize", "maximize"]


@dataclass
class Study:
    """A search over recipes.

    Attributes:
        name: Names the Optuna studies (``<name>/<stage>``) and the MLflow experiment.
        recipe: Asks a trial for values and returns what to train: a ``Recipe``, or an
            ``OwnLoop`` (or any iterable of mappings) for a training loop of one's own.
        data: A function that returns the data (``datasets.digits``), or the data: a pair
            of tensors or arrays, or a map-style ``Dataset``.
        stages: The passes of the search, in their order. Default: three, coarse to fine, of 1,
            5 and 30 epochs.
        metric: Key of the records to optimise. Default: ``accuracy/valid`` for classes,
            ``loss/valid`` for numbers.
        direction: ``maximize`` or ``minimize``; needed unless the metric's name begins with
            ``accuracy`` or ``loss``.
        split: How the examples are divided.
        folds: With how many folds each trial is cross-validated, on training and validation part
            together; 1: it is trained and validated once.
        start: A point, or several, to try first.
        limits: By parameter the least and the largest value that can be meant, either of them
            None where there is none: ``{"dropout": (0, 0.95)}``. No range is ever suggested
            beyond them.
        early_stopping: When a training ends before its epochs do; None: never.
        validate_every: Training examples between two validations; None: once an epoch.
        seed: Where all draws of the study come from, unless one is given at launch.
        description: Shown with the study in MLflow. Default: the recipe's docstring.
    """

    name: str
    recipe: RecipeFunction
    data: Any
    stages: Sequence[Stage] = field(default_factory=coarse_to_fine)
    metric: str | None = None
    direction: Direction | None = None
    split: Split = field(default_factory=Split)
    folds: int = 1
    start: Mapping[str, Any] | Sequence[Mapping[str, Any]] = ()
    limits: Mapping[str, Limit] = field(default_factory=dict)
    early_stopping: EarlyStopping | None = field(default_factory=EarlyStopping)
    validate_every: int | None = None
    seed: int = 0
    description: str = ""

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        validate_name(self.name, "study")
        if not callable(self.recipe):
            raise UserError(f"Study {self.name!r}: recipe must be a function of (trial, data)")
        if isinstance(self.stages, Stage):
            self.stages = (self.stages,)
        if not self.stages:
            raise UserError(f"Study {self.name!r} needs at least one stage")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise UserError(f"Study {self.name!r}: two stages have the same name: {names}")
        for command in ("confirm", "distill"):
            if taken := [name for name in names if f"{name}-".startswith(f"{command}-")]:
                raise UserError(
                    f"Study {self.name!r}: a stage cannot be named {taken[0]!r}, since nnstudy"
                    f" {command} stores its trainings under such a name"
                )
        if isinstance(self.metric, (list, tuple)) or isinstance(self.direction, (list, tuple)):
            raise UserError(
                f"Study {self.name!r}: one metric and one direction only. Pruning and early"
                " stopping need a single objective; combine several into one number"
                " (Recipe(metrics={'score': ...}), metric='score/valid')."
            )
        if self.direction not in (None, "minimize", "maximize"):
            raise UserError(
                f"Study {self.name!r}: direction must be 'minimize' or 'maximize',"
                f" got {self.direction!r}"
            )
        if self.validate_every is not None and self.validate_every < 1:
            raise UserError(f"Study {self.name!r}: validate_every must be at least 1 example")
        if self.folds < 1:
            raise UserError(f"Study {self.name!r}: folds must be at least 1, got {self.folds}")
        seeded = [stage.name for stage in self.stages if stage.seeds > 1]
        if self.folds > 1 and seeded:
            raise UserError(
                f"Study {self.name!r}: stage {seeded[0]!r} has several seeds, and there are"
                f" {self.folds} folds. Choose one of the two: each fold has a seed of its own, so"
                " that their mean tells of seeds as well"
            )
        self.limits = checked_limits(self.limits, f"Study {self.name!r}")

    @property
    def start_points(self) -> list[dict[str, Any]]:
        """The points to try first, as a list."""
        points = [self.start] if isinstance(self.start, Mapping) else list(self.start)
        return [dict(point) for point in points]

    def objective(self, task: str) -> tuple[str, Direction]:
        """Returns the metric and its direction for a kind of data.

        Args:
            task: ``classification`` or ``regression``.

        Raises:
            UserError: If the direction cannot be told from the metric's name.
        """
        metric = self.metric or ("accuracy/valid" if task == "classification" else "loss/valid")
        if self.direction:
            return metric, self.direction
        if metric.startswith("accuracy"):
            return metric, "maximize"
        if metric.startswith("loss"):
            return metric, "minimize"
        raise UserError(
            f"Study {self.name!r}: is {metric!r} to be large or small?"
            " Say direction='maximize' or direction='minimize'."
        )

    def with_trials(self, total: int) -> Study:
        """Returns the study with its stages' shares scaled to a total number of trials.

        Each stage keeps at least one trial and the shares add up to the total.

        Raises:
            UserError: If there are fewer trials than stages.
        """
        if total < len(self.stages):
            raise UserError(
                f"{total} trials are too few for the {len(self.stages)} stages of study"
                f" {self.name!r}; give at least one for each"
            )
        planned = sum(stage.trials for stage in self.stages)
        shares = [max(1.0, total * stage.trials / planned) for stage in self.stages]
        counts = [int(share) for share in shares]
        while sum(counts) > total:
            counts[counts.index(max(counts))] -= 1
        by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])
        for i in by_remainder[: total - sum(counts)]:
            counts[i] += 1
        stages = [
            replace(stage, trials=count) for stage, count in zip(self.stages, counts, strict=True)
        ]
        return replace(self, stages=stages)
