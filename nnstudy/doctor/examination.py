"""All that a study needs, tried out before there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nnstudy.doctor.check import Check, ok, problem
from nnstudy.doctor.devices import check_devices
from nnstudy.doctor.directories import check_checkpoints, check_data
from nnstudy.doctor.places import Places
from nnstudy.doctor.storage import check_storage, sqlite_file
from nnstudy.doctor.tracking import check_tracking
from nnstudy.doctor.versions import check_versions
from nnstudy.errors import UserError
from nnstudy.search.storage import same_database, storage_url
from nnstudy.secret_urls import mask
from nnstudy.tracking import Location


def examine(places: Places) -> Iterator[Check]:
    """Yields what a study would find, thing by thing; nothing permanent is made.

    Args:
        places: Where the study would keep everything.
    """
    url = storage_url(places.storage)
    location: Location | None = None
    yield from check_versions(url, places.tracking_uri or "")
    yield from check_devices()
    try:
        location = Location.resolve(places.tracking_uri, places.artifacts)
    except UserError as error:
        yield problem("tracking", str(error))
    if location and not location.is_server and same_database(url, location.uri):
        yield problem(
            "storage",
            f"{mask(url)} is given to Optuna and to MLflow, but they need two databases, since"
            " both keep a table alembic_version",
            "give one of them another file, or another PostgreSQL database or schema",
        )
    else:
        yield from check_storage(url)
        if location:
            yield from check_tracking(location)
    if places.upload:
        yield ok("checkpoints", "kept as MLflow's artifacts")
    else:
        files = {"Optuna's database": sqlite_file(url)}
        files["MLflow's"] = location.sqlite_file if location else None
        beside = {name: file for name, file in files.items() if file}
        yield from check_checkpoints(places.checkpoints, beside)
    yield check_data(places.data_directory or Path(os.environ.get("NNSTUDY_DATA_DIR") or "data"))
