"""Where runs are kept: the tracking URI, the artifacts beside it, and both without secrets."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nnstudy.errors import UserError
from nnstudy.secret_urls import mask, scrub

DEFAULT_URI = "sqlite:///mlruns/mlflow.db"
DEFAULT_ARTIFACTS = "mlruns/artifacts"

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class Location:
    """Where runs and their artifacts are kept, with relative paths made absolute.

    Attributes:
        uri: Tracking URI with its password, if it has one.
        artifacts: Root under which each experiment gets a folder of its own; None leaves the
            choice to the tracking server.
    """

    uri: str
    artifacts: str | None

    @classmethod
    def resolve(cls, uri: str | None = None, artifacts: str | None = None) -> Location:
        """Completes what the caller left open.

        Args:
            uri: Tracking URI. Default: the environment variable ``MLFLOW_TRACKING_URI``, then
                ``sqlite:///mlruns/mlflow.db``.
            artifacts: Directory or URI for artifacts. Default: ``mlruns/artifacts``, or what
                the tracking server says where there is one.

        Raises:
            UserError: The URI is of a kind that is not served.
        """
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
        scheme = uri.partition(":")[0].partition("+")[0]
        if scheme in ("http", "https"):
            return cls(uri.rstrip("/"), artifacts and _artifact_root(artifacts))
        if scheme == "postgres":
            scheme, uri = "postgresql", re.sub(r"^postgres\b", "postgresql", uri)
        if scheme not in _DATABASES:
            raise UserError(
                f"The tracking URI {mask(uri)} is of a kind that is not served: give a database"
                " (sqlite:///path/to/mlflow.db, postgresql://host/name) or an MLflow server"
                " (http://host:5000)"
            )
        if scheme == "sqlite":
            uri = _absolute_sqlite(uri)
        elif scheme == "postgresql":
            uri = _with_installed_driver(uri)
        return cls(uri, _artifact_root(artifacts or DEFAULT_ARTIFACTS))

    @property
    def is_server(self) -> bool:
        """Whether runs go to an MLflow server instead of straight into a database."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def sqlite_file(self) -> Path | None:
        """The database file, or None where the database is not SQLite."""
        if not self.uri.startswith("sqlite"):
            return None
        return Path(self.uri.partition("///")[2].partition("?")[0])

    @property
    def masked_uri(self) -> str:
        """The tracking URI as it may be shown."""
        return mask(self.uri)

    def scrub(self, text: object) -> str:
        """Returns a text, such as another library's error, without this location's secrets."""
        return scrub(text, self.uri)


def _absolute_sqlite(uri: str) -> str:
    head, slashes, rest = uri.partition("///")
    path, mark, query = rest.partition("?")
    if not slashes or not path or path == ":memory:":
        raise UserError(
            f"The tracking URI {uri} names no file; runs must outlive the process:"
            " give sqlite:///path/to/mlflow.db"
        )
    return f"{head}///{Path(path).expanduser().absolute()}{mark}{query}"


def _with_installed_driver(uri: str) -> str:
    """Names psycopg 3 where the URI names no driver and the older one is missing."""
    bare = uri.startswith("postgresql://")
    if bare and not importlib.util.find_spec("psycopg2") and importlib.util.find_spec("psycopg"):
        return uri.replace("postgresql://", "postgresql+psycopg://", 1)
    return uri


def _artifact_root(artifacts: str) -> str:
    if re.match(r"^[a-zA-Z][\w+.-]+:", artifacts):
        return artifacts.rstrip("/")
    return Path(artifacts).expanduser().absolute().as_uri()
