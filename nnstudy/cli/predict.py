"""``nnstudy predict``: asks the ensemble of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli import words
from nnstudy.cli.options import complete_study, device_option, json_option

if TYPE_CHECKING:
    import pandas as pd

    from nnstudy.engines import PredictResult

_FORMATS = (".csv", ".json")


@click.command(
    short_help="Ask a study's ensemble about inputs of yours.",
    epilog="""
\b
Examples:
  nnstudy predict digits mine.npy
  nnstudy predict digits pictures/ --output answers.csv
  nnstudy predict diabetes patients.csv --json
""",
)
@click.argument("name", shell_complete=complete_study)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model-version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of the model in MLflow's registry. Default: the study's newest ensemble.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the answers to a .csv or .json file.",
)
@click.option(
    "--tracking-uri",
    metavar="URI",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    help="Database or server of MLflow. Default: sqlite:///mlruns/mlflow.db",
)
@device_option
@json_option
def predict(
    name: str,
    data: Path,
    *,
    model_version: int | None,
    output: Path | None,
    tracking_uri: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Ask the ensemble of the study NAME about the inputs in DATA.

    DATA is a .npy or .npz file, a .csv of numbers, a picture or a folder of pictures, as the
    study's own data are before they are normalised. The ensemble is read from MLflow, and the
    study's code that is kept with it is run to rebuild the networks, after its hash is verified.
    """
    from nnstudy import engines

    if output is not None and output.suffix not in _FORMATS:
        raise click.BadParameter(f"{output} must end in {' or '.join(_FORMATS)}")
    result = engines.predict(
        name,
        data,
        version=model_version,
        tracking_uri=tracking_uri,
        device=device,
        say=lambda text: click.echo(text, err=True),
    )
    if output is not None:
        output.write_text(_as_csv(result) if output.suffix == ".csv" else _as_json(result))
    if as_json:
        click.echo(_as_json(result))
    elif output is None:
        click.echo(words.columns(_table(result)))
    else:
        click.echo(f"{name}: {len(result.rows)} answers written to {output}")


def _as_json(result: PredictResult) -> str:
    rows = result.rows.to_dict("records")
    return json.dumps(
        [{"input": name, **row} for name, row in zip(result.names, rows, strict=True)]
    )


def _as_csv(result: PredictResult) -> str:
    """Writes a column for each number, the probabilities of classes by name."""
    import pandas as pd

    wide = [_column(result, name) for name in result.rows]
    inputs = pd.DataFrame({"input": result.names})
    return str(pd.concat([inputs, *wide], axis=1).to_csv(index=False))


def _column(result: PredictResult, name: str) -> pd.DataFrame:
    import pandas as pd

    values = result.rows[name]
    if not isinstance(values.iloc[0], list):
        return values.to_frame()
    parts = result.classes or [str(place) for place in range(len(values.iloc[0]))]
    return pd.DataFrame(values.tolist(), columns=[f"{name}/{part}" for part in parts])


def _table(result: PredictResult) -> list[tuple[str, ...]]:
    if not result.classes:
        columns = list(result.rows)
        rows = [tuple(_numbers(row[name]) for name in columns) for _, row in result.rows.iterrows()]
        return [("input", *columns), *_named(result, rows)]
    rows = [
        (
            row["class_name"],
            f"{row['probabilities'][row['class']]:.4f}",
            f"{row['entropy']:.4f}",
            f"{row['disagreement']:.4f}",
        )
        for _, row in result.rows.iterrows()
    ]
    return [("input", "class", "probability", "entropy", "disagreement"), *_named(result, rows)]


def _named(result: PredictResult, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(name, *row) for name, row in zip(result.names, rows, strict=True)]


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
