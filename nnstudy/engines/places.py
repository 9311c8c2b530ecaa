"""What a launch keeps in the file system, which its workers on other machines must see too."""

from __future__ import annotations

import socket
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

from nnstudy.engines.orders import Orders
from nnstudy.errors import UserError
from nnstudy.tracking.location import Location

_CURES = {
    "--storage": "give a database server: --storage postgresql://...",
    "--tracking-uri": "give an MLflow server: --tracking-uri http://...",
    "--artifacts": "give a URI that all reach: --artifacts s3://...",
    "--checkpoints": "give a directory that all share, or --checkpoints mlflow",
}


def places(orders: Orders) -> dict[str, Path]:
    """Returns the files and directories that orders name, by the option that gives them."""
    storage = make_url(orders.storage)
    directory = urlsplit(orders.artifacts or "")
    found = {
        "--storage": storage.database if storage.get_backend_name() == "sqlite" else None,
        "--tracking-uri": Location(orders.tracking_uri, orders.artifacts).sqlite_file,
        "--artifacts": unquote(directory.path) if directory.scheme in ("", "file") else None,
        "--checkpoints": None if orders.settings.upload else orders.settings.checkpoints,
    }
    return {option: Path(place).absolute() for option, place in found.items() if place}


def make_directories(orders: Orders) -> None:
    """Makes the directories among them, so that a worker can tell whether it sees them."""
    for option, place in places(orders).items():
        if option in ("--artifacts", "--checkpoints"):
            place.mkdir(parents=True, exist_ok=True)


def warning_for(hosts: Collection[str], orders: Orders) -> str | None:
    """Returns what must hold for workers on other machines, or None where there is nothing."""
    others = sorted(set(hosts) - {socket.gethostname()})
    if not others or not (found := places(orders)):
        return None
    listed = "; ".join(f"{place}, or {_CURES[option]}" for option, place in found.items())
    return (
        f"workers may run on {', '.join(others)}, which must see what is kept on this machine"
        f" under the same path: {listed}. A SQLite file on a network file system is not safe"
    )


def refuse_missing(orders: Orders) -> None:
    """Raises UserError, on a worker's machine, where it does not see what the launcher keeps."""
    for option, place in places(orders).items():
        if not place.exists():
            raise UserError(
                f"{place} of {option} is not on the machine {socket.gethostname()}, where a"
                f" worker is to run; {_CURES[option]}"
            )
