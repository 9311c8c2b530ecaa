"""``nnstudy doctor``: tests what a study needs, and whether all that is stored of one agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nnstudy.cli import words
from nnstudy.cli.exit_codes import BAD_INPUT
from nnstudy.cli.options import (
    IN_MLFLOW,
    checkpoints_option,
    complete_study,
    data_dir_option,
    json_option,
    storage_option,
    tracking_options,
)
from nnstudy.cli.retyping import program, retyped

if TYPE_CHECKING:
    from nnstudy.doctor import Check, Diagnosis, Places

_COLOURS = {
    "ok": "green",
    "fixed": "green",
    "note": None,
    "warning": "yellow",
    "differs": "yellow",
    "problem": "red",
}
_MARGIN = max(map(len, _COLOURS)) + 2


@click.command(
    short_help="Test what a study needs; compare what is stored of one.",
    epilog="""
\b
Examples:
  nnstudy doctor
  nnstudy doctor --storage postgresql://user@host/optuna --tracking-uri http://host:5000
  nnstudy doctor digits
  nnstudy doctor digits --fix
""",
)
@click.argument("name", required=False, shell_complete=complete_study)
@click.option(
    "--fix", is_flag=True, help="Put right what can be put right without losing anything."
)
@storage_option
@tracking_options
@checkpoints_option
@data_dir_option
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    name: str | None,
    *,
    fix: bool,
    storage: str | None,
    tracking_uri: str | None,
    artifacts: str | None,
    checkpoints: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Test all that a study would need, or compare what is stored of the study NAME.

    Without NAME: databases, MLflow, artifacts, checkpoints, devices and versions are tried out,
    and nothing is left behind. With NAME: where Optuna, MLflow and the checkpoints do not agree,
    as after a crash. Nothing is changed without --fix, and both may be done while the study runs.
    """
    from nnstudy.doctor import Places

    places = Places(
        storage,
        tracking_uri,
        artifacts,
        upload=checkpoints == IN_MLFLOW,
        data_directory=data_dir,
        **({"checkpoints": Path(checkpoints)} if checkpoints not in (None, IN_MLFLOW) else {}),
    )
    if name is not None:
        wrong = _compare(ctx, name, places, fix=fix, as_json=as_json)
    elif fix:
        raise click.UsageError("--fix needs the NAME of a stored study", ctx)
    else:
        wrong = _examine(places, as_json=as_json)
    if wrong:
        ctx.exit(BAD_INPUT)


def _examine(places: Places, *, as_json: bool) -> bool:
    from dataclasses import asdict

    from nnstudy.doctor import examine

    checks: list[Check] = []
    for check in examine(places):
        checks.append(check)
        if not as_json:
            _show(check.verdict, f"{check.what}: {check.text}", check.cure)
    problems = sum(check.verdict == "problem" for check in checks)
    warnings = sum(check.verdict == "warning" for check in checks)
    if as_json:
        listed = [asdict(check) for check in checks]
        counted = {"problems": problems, "warnings": warnings}
        click.echo(json.dumps({**counted, "checks": listed}, indent=2))
    else:
        click.echo(f"{_number(problems, 'problem')}, {_number(warnings, 'warning')}")
    return problems > 0


def _compare(ctx: click.Context, name: str, places: Places, *, fix: bool, as_json: bool) -> bool:
    from nnstudy.doctor import diagnose

    found = diagnose(name, places, fix=fix)
    remaining = sum(one.remains for one in found)
    if as_json:
        listed = [
            {**one.finding.to_dict(), "fixed": one.fixed, "error": one.error} for one in found
        ]
        counted = {"study": name, "differences": remaining}
        click.echo(json.dumps({**counted, "findings": listed}, indent=2))
        return remaining > 0
    for one in found:
        _show(*_described(one))
    fixed = sum(one.fixed for one in found)
    told = f"{name}: {_number(remaining, 'difference')}" + (" left" if fix else "")
    click.echo(told + (f", {fixed} put right" if fixed else ""))
    if not fix and any(one.finding.fixable for one in found):
        click.echo(f"to put right what can be: {program()} doctor {name}{retyped(ctx)} --fix")
    return remaining > 0


def _described(one: Diagnosis) -> tuple[str, str, str]:
    """Returns verdict, text and cure of what was found."""
    found = one.finding
    verdict = "fixed" if one.fixed else "differs" if found.is_difference else "note"
    where = found.stage + (f" trial {found.trial}" if found.trial is not None else "")
    cure = found.fix
    if one.error:
        cure = f"{found.fix}: not done, {one.error}"
    return verdict, f"{where}: {found.text}" if where else found.text, cure


def _show(verdict: str, text: str, cure: str) -> None:
    """Prints a line, and what to do about it in one of its own."""
    click.secho(f"{verdict:<{_MARGIN}}", fg=_COLOURS[verdict], nl=False)
    click.echo(words.hanging(text, _MARGIN))
    if cure:
        click.echo(" " * _MARGIN + words.hanging(f"-> {cure}", _MARGIN))


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
