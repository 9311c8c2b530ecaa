"""The saved view of an experiment's runs: what a person sees first in the MLflow UI.

The format is MLflow's own and internal: the same envelope that
``mlflow/demo/generators/saved_views.py`` writes, around the state of the runs page.
It is therefore written only for versions it was looked at with.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

VIEW_ID = "nnstudy"

_FIRST_VERSION = (3, 15)
_NEXT_MAJOR = (4,)
# MLflow keeps 20,000 characters of an experiment's tag.
_LONGEST_TAG = 20_000

# Names of sections of charts; curves are sorted into sections by their own names.
_SEARCH = "parameters and best value"
_PARAMETERS = "best value by parameter"
_SCATTERS = 12

# The columns that MLflow always shows, with widths in pixels.
_FIXED_COLUMNS = {"attributes.`Run Name`": 150, "runDateAndNestInfo": 140, "duration": 80}


def understood() -> bool:
    """Tells whether the installed MLflow reads saved views in this format."""
    installed = tuple(int(part) for part in version("mlflow").split(".")[:2])
    return _FIRST_VERSION <= installed < _NEXT_MAJOR


def saved_view(
    params: Sequence[str],
    metric: str,
    *,
    ascending: bool,
    tags: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> tuple[str, str]:
    """Returns the experiment tag, as key and value, that holds the view; see ``Tracker``."""
    state = {
        **_table(params, metric, ascending=ascending, tags=tags),
        **_charts(numbers, metric),
    }
    envelope = {
        "name": "Best trials first",
        "createdAt": time.time_ns() // 1_000_000,
        "state": _deflate(state),
    }
    value = json.dumps(envelope, separators=(",", ":"))
    if len(value) > _LONGEST_TAG and params:
        half = len(params) // 2
        return saved_view(
            params[:half], metric, ascending=ascending, tags=tags, numbers=numbers[:half]
        )
    return f"mlflow.sharedViewState.{VIEW_ID}", value


def runs_url(base: str, experiment_id: str, view: str | None = None) -> str:
    """Returns the address of an experiment's runs in the MLflow UI at ``base``."""
    query = f"?viewStateShareKey={view}" if view else ""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs{query}"


def _table(
    params: Sequence[str], metric: str, *, ascending: bool, tags: Sequence[str]
) -> dict[str, Any]:
    best = f"metrics.`best/{metric}`"
    columns = [best, *(f"tags.`{tag}`" for tag in tags), *(f"params.`{name}`" for name in params)]
    return {
        "selectedColumns": columns,
        "columnOrder": [*_FIXED_COLUMNS, *columns],
        "columnWidths": {**_FIXED_COLUMNS, best: 180, **dict.fromkeys(columns[1:], 110)},
        # sorted by anything but the date, the table is flat: no trial is folded away
        "orderByKey": best,
        "orderByAsc": ascending,
        "searchFilter": "",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
    }


def _charts(numbers: Sequence[str], metric: str) -> dict[str, Any]:
    """The search in one wide picture, each parameter against the best value, then the curves."""
    best = f"best/{metric}"
    cards = [
        _card(
            "PARALLEL",
            _SEARCH,
            selectedParams=[*numbers],
            selectedMetrics=[best],
            showAllRuns=True,
        )
    ]
    cards += [
        _card(
            "SCATTER",
            _PARAMETERS,
            xaxis={"key": name, "type": "PARAM"},
            yaxis={"key": best, "type": "METRIC"},
            runsCountToCompare=100,
        )
        for name in numbers[:_SCATTERS]
    ]
    # MLflow adds a chart for every other curve to the section that its name says
    sections = [_section(_SEARCH, columns=1), _section(_PARAMETERS)]
    sections += [_section(name) for name in dict.fromkeys((metric.rpartition("/")[0], "loss"))]
    return {
        "compareRunCharts": cards,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "runsHiddenMode": "FIRST_10_RUNS",
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
    }


def _section(name: str, columns: int = 3) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": name,
        "columns": columns,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": True,
    }


def _card(kind: str, section: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": "-".join([section, kind, fields.get("xaxis", {}).get("key", "")]),
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }


def _deflate(state: dict[str, Any]) -> str:
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode())
    return f"deflate;{base64.b64encode(packed).decode('ascii')}"
