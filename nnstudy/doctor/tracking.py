"""Whether MLflow can be reached, and artifacts be written, read and deleted."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import sqlalchemy as sa

from nnstudy.doctor.check import Check, ok, problem, warning
from nnstudy.doctor.filesystems import scratch_directory
from nnstudy.doctor.servers import check_server, engine_of
from nnstudy.doctor.sqlite_files import check_file, is_stored
from nnstudy.errors import UserError
from nnstudy.tracking import Location, Tracker
from nnstudy.tracking.quiet import quietly

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_WHAT = "tracking"
_ARTIFACTS = "artifacts"


def check_tracking(location: Location) -> Iterator[Check]:
    """Yields what is right and wrong with MLflow and its artifacts.

    Nothing is left behind: a database that is not there yet is tried out in a file beside its
    place, and the artifact that is written is deleted again.

    Args:
        location: Where runs and artifacts are to be kept.
    """
    try:
        if location.is_server:
            yield from _check_http(location)
        elif location.sqlite_file:
            yield from _check_sqlite(location, location.sqlite_file)
        else:
            yield from _check_database(location)
    except UserError as error:
        yield problem(_WHAT, str(error))
    except sa.exc.SQLAlchemyError as error:
        reason = location.scrub(getattr(error, "orig", None) or error).strip().splitlines()[0]
        yield problem(
            _WHAT,
            f"{location.masked_uri} cannot be used: {reason}",
            "look whether the server runs, and whether host, port, user, password and database"
            " name are right",
        )


def _check_http(location: Location) -> Iterator[Check]:
    tracker = Tracker(location.uri, location.artifacts)
    yield _compare_versions(location)
    yield from _check_artifacts(location, location.artifacts or _root_of_server(tracker))


def _check_sqlite(location: Location, file: Path) -> Iterator[Check]:
    found = list(check_file(_WHAT, file))
    yield from found
    if any(check.verdict == "problem" for check in found):
        return
    if is_stored(file):
        Tracker(location.uri, location.artifacts)
        yield ok(_WHAT, f"{location.masked_uri}: opened")
    else:
        try:
            with scratch_directory(file.parent) as directory:
                Tracker(f"sqlite:///{directory / 'mlflow.db'}", directory.as_uri())
        except OSError as error:
            yield problem(
                _WHAT,
                f"{file} cannot be made: {error.strerror}: {error.filename}",
                "look at the permissions of the directory, or give another place with"
                " --tracking-uri",
            )
            return
        yield ok(_WHAT, f"{file} is not there yet, the first launch makes it; tried beside it")
    yield from _check_artifacts(location, location.artifacts or "")


def _check_database(location: Location) -> Iterator[Check]:
    try:
        engine = engine_of(location.uri)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        raise UserError(
            f"The tracking URI {location.masked_uri} cannot be used: {location.scrub(error)}."
            " For PostgreSQL: pip install 'nnstudy[postgres]'"
        ) from None
    if sa.inspect(engine).get_table_names():
        Tracker(location.uri, location.artifacts)
        yield ok(_WHAT, f"{location.masked_uri}: opened")
    else:
        yield ok(_WHAT, f"{location.masked_uri} is empty, the first launch makes its tables")
    if engine.dialect.name == "postgresql":
        yield from check_server(_WHAT, engine)
    yield from _check_artifacts(location, location.artifacts or "")


def _compare_versions(location: Location) -> Check:
    """Returns what an MLflow server's version is beside ours."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    ask: Any = http_request  # MLflow has no types
    credentials: Any = get_default_host_creds
    ours = version("mlflow")
    try:
        with quietly():
            answer = ask(credentials(location.uri), "/version", "GET")
    except MlflowException as error:
        return warning(
            _WHAT,
            f"the server {location.masked_uri} does not tell its version:"
            f" {location.scrub(error)[:200]}",
            "look whether a proxy in front of it lets /version through",
        )
    theirs = answer.text.strip()
    told = f"{location.masked_uri} answers, MLflow {theirs[:40]}; the client here is {ours}"
    if not answer.ok or theirs.split(".")[:1] != ours.split(".")[:1]:
        return problem(_WHAT, told, "use the same major version on both sides")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        return warning(_WHAT, told, "use the same version on both sides")
    return ok(_WHAT, told)


def _root_of_server(tracker: Tracker) -> str:
    """Returns where a server wants artifacts: what is above those of its latest experiment."""
    experiments = tracker.client.search_experiments(max_results=1, order_by=["creation_time DESC"])
    if not experiments:
        raise UserError(
            "the MLflow server has no experiment, from which one could see where it keeps"
            " artifacts; name their root with --artifacts"
        )
    root = str(experiments[0].artifact_location)
    return root.rstrip("/").rpartition("/")[0]


def _check_artifacts(location: Location, root: str) -> Iterator[Check]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    directory = _local_directory(root)
    if directory and location.is_server:
        yield warning(
            _ARTIFACTS,
            f"the server has every client write artifacts to {directory} on its own machine",
            "start the server with --artifacts-destination, or name a root that all can reach"
            " with --artifacts",
        )
    try:
        with quietly():
            if directory:
                with scratch_directory(directory) as scratch:
                    _try(get_artifact_repository(scratch.as_uri(), tracking_uri=location.uri))
            else:
                _try(get_artifact_repository(f"{root}/", tracking_uri=location.uri))
    except UserError as error:
        yield problem(_ARTIFACTS, f"{root}: {error}")
    except Exception as error:  # whatever a store raises: its own errors, botocore's, OSError
        yield problem(
            _ARTIFACTS,
            f"{location.scrub(root)} cannot be used: {location.scrub(error).strip()[:300]}",
            "look at the store's address and credentials and at its free space, or give another"
            " root with --artifacts",
        )
    else:
        yield ok(_ARTIFACTS, f"{location.scrub(root)}: written, read and deleted")


def _try(repository: ArtifactRepository) -> None:
    """Does with a small artifact what a trial does."""
    place, name, content = f"nnstudy-doctor-{secrets.token_hex(6)}", "probe.txt", "nnstudy doctor"
    store: Any = repository
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, name)
        file.write_text(content)
        store.log_artifact(str(file), place)
        back = Path(directory, "back")
        back.mkdir()
        read = Path(store.download_artifacts(f"{place}/{name}", str(back))).read_text()
    store.delete_artifacts(place)
    if read != content:
        raise UserError("the store does not give back what was written to it")
    if store.list_artifacts(place):
        raise UserError(f"the store does not delete; remove {place} by hand")


def _local_directory(root: str) -> Path | None:
    parts = urlsplit(root)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(root) if not parts.scheme else None
