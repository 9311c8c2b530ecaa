"""A stored study's code, from MLflow: for a machine that lacks the study file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from nnstudy.errors import UserError
from nnstudy.search.plan import Plan
from nnstudy.study.sources import Sources, hash_of_files, read_verified
from nnstudy.tracking import Tracker


def fetch_code(tracker: Tracker, plan: Plan) -> Sources:
    """Fetches the code that a stage ran with; nothing is run.

    Args:
        tracker: MLflow.
        plan: The stage, whose hashes are those that the code must have.

    Raises:
        UserError: If MLflow has not kept it, or what it has is another.
    """
    if not plan.sources:
        raise UserError(
            f"no code was kept with {plan.name!r}: it was launched without a study file. Rebuild its"
            " networks from Python, where the study is"
        )
    run = tracker.run(plan.run_id)
    version = hash_of_files(plan.sources)
    with tempfile.TemporaryDirectory() as scratch:
        # The later one where the file was changed between two launches.
        for folder in (f"code-{version[:8]}", "code"):
            found = run.download(folder, Path(scratch))
            listing = run.download(f"{folder}.json", Path(scratch))
            if found and listing:
                return read_verified(found, _main(listing), plan.sources, _variable(plan))
    raise UserError(
        f"the MLflow run {plan.run_id} of {plan.name!r} has no code in it, or MLflow at"
        f" {tracker.masked_uri} cannot be reached: give the study file with --study"
    )


def _main(listing: Path) -> str:
    try:
        return str(json.loads(listing.read_text())["main"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the kept list of code {listing.name} is damaged: {error}") from error


def _variable(plan: Plan) -> str:
    """Returns what the study is called in its file, as it was launched by path or name."""
    _, colon, variable = plan.reference.rpartition(":")
    return variable if colon and variable.isidentifier() else "study"
