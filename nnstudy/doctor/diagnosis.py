"""A stored study from first look to last repair."""

from __future__ import annotations

from dataclasses import dataclass

from nnstudy.doctor.comparison import LOOK_AGAIN_SECONDS, compare, reconcile
from nnstudy.doctor.finding import Finding
from nnstudy.doctor.places import Places
from nnstudy.doctor.snapshot import open_sides
from nnstudy.doctor.without_optuna import compare_without_optuna
from nnstudy.errors import UserError
from nnstudy.search.settings import Settings
from nnstudy.search.storage import NothingStored, open_storage, storage_url
from nnstudy.tracking import Location


@dataclass(frozen=True)
class Diagnosis:
    """What was found of a study, and what came of putting it right.

    Attributes:
        finding: What was found.
        fixed: Whether it was put right.
        error: Why it could not be, where that was tried.
    """

    finding: Finding
    fixed: bool = False
    error: str = ""

    @property
    def remains(self) -> bool:
        """Whether it is something that still should be put right."""
        return self.finding.is_difference and not self.fixed


def diagnose(
    name: str, places: Places, *, fix: bool = False, pause: float = LOOK_AGAIN_SECONDS
) -> list[Diagnosis]:
    """Compares what is stored of a study, and puts right what differs if asked to.

    Args:
        name: Name of the study.
        places: Where it keeps everything.
        fix: Whether to put right what can be; else nothing is changed.
        pause: Seconds between the two looks at what differs.

    Raises:
        UserError: If no such study is stored.
    """
    settings = Settings(checkpoints=places.checkpoints)
    try:
        storage = open_storage(storage_url(places.storage), create=False)
    except NothingStored:
        raise
    except UserError as error:
        location = Location.resolve(places.tracking_uri, places.artifacts)
        found = compare_without_optuna(name, str(error), location, settings)
        return [Diagnosis(finding) for finding in found]
    sides = open_sides(name, storage, places.tracking_uri, places.artifacts, settings)
    findings = compare(sides, pause=pause)
    outcomes = {id(done): error for done, error in reconcile(sides, findings)} if fix else {}
    return [
        Diagnosis(finding, outcomes.get(id(finding)) == "", outcomes.get(id(finding), ""))
        for finding in findings
    ]
