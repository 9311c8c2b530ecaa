"""The reference names what there is, and nothing else."""

from __future__ import annotations

import dataclasses
import re

import click
import pytest

import nnstudy
from nnstudy.cli import main
from nnstudy.data import Split
from nnstudy.engines import JoinResult, LaunchOptions, LaunchResult, Settings
from nnstudy.preflight.checks import ALL
from nnstudy.search import pruners, samplers
from nnstudy.search.plan import Plan
from nnstudy.training import Callback
from tests.docs.markdown import ROOT, section

REFERENCE = ROOT / "docs" / "reference.md"
TEXT = REFERENCE.read_text()


@pytest.mark.parametrize("name", sorted(main.commands))
def test_reference_has_every_option_of_a_command_and_no_other(name: str) -> None:
    text = section(REFERENCE, f"### nnstudy {name}")
    options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
    there_are = {opt for option in options for opt in option.opts if opt.startswith("--")}
    assert set(re.findall(r"`(--[a-z-]+)", text)) == there_are
    for option in options:
        for choice in option.type.choices if isinstance(option.type, click.Choice) else ():
            assert f"`{choice}`" in TEXT, f"{option.opts[0]} {choice}"


def test_reference_has_every_check_with_its_kind_and_no_other() -> None:
    text = section(REFERENCE, "### nnstudy check")
    rows = re.findall(r"^\| `([a-z ]+)` \| (code|configuration|statistics) \|", text, re.MULTILINE)
    # The check of building has a second result.
    assert set(rows) == {("memory", "statistics"), *((check.name, check.kind) for check in ALL)}


def test_reference_has_every_command_and_no_other() -> None:
    assert set(re.findall(r"^### nnstudy ([\w-]+)$", TEXT, re.MULTILINE)) == set(main.commands)


@pytest.mark.parametrize("name", nnstudy.__all__)
def test_reference_has_every_public_name(name: str) -> None:
    assert re.search(rf"`nnstudy\.{name}\b|^### {name}$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(
    "kind",
    [
        nnstudy.Recipe,
        nnstudy.OwnLoop,
        nnstudy.Study,
        nnstudy.Stage,
        Split,
        nnstudy.EarlyStopping,
        nnstudy.Record,
    ],
)
def test_reference_has_every_field(kind: type) -> None:
    text = section(REFERENCE, f"### {kind.__name__}")
    fields = {field.name for field in dataclasses.fields(kind)}
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == fields


def test_reference_has_every_hook() -> None:
    text = section(REFERENCE, "### Callback")
    hooks = {name for name in vars(Callback) if name.startswith("on_")}
    assert set(re.findall(r"^\| `(on_\w+)", text, re.MULTILINE)) == hooks


@pytest.mark.parametrize(
    ("heading", "known"), [("### Samplers", samplers), ("### Pruners", pruners)]
)
def test_reference_has_every_sampler_and_pruner_with_its_options(
    heading: str, known: object
) -> None:
    text = section(REFERENCE, heading)
    names = vars(known)["SAMPLERS" if known is samplers else "PRUNERS"]
    rows = dict(re.findall(r"^\| `([\w-]+)` \|(.*)$", text, re.MULTILINE))
    assert set(rows) == set(names)
    for name, row in rows.items():
        options = set(re.findall(r"`(\w+)`", row.split("|")[-2]))
        assert options == set(vars(known)["_allowed"](name)), name


def test_reference_has_what_a_stored_stage_remembers() -> None:
    text = section(REFERENCE, "### Optuna")
    for field in dataclasses.fields(Plan):
        assert f"`{field.name}`" in text


@pytest.mark.parametrize(
    "module", ["losses", "schedules", "datasets", "augmentation", "models", "initialisers"]
)
def test_reference_has_every_name_of_a_module(module: str) -> None:
    found = getattr(nnstudy, module)
    if module == "initialisers":
        names = set(found.NAMES)
    else:
        internal = {
            "MakeSchedule",
            "RunningSchedule",
            "Recurrent",
            "initialisers",
            "adapt",
            "low_point",
        }
        names = set(found.__all__) - internal
    for name in names:
        assert re.search(rf"`{name}\b", section(REFERENCE, f"### {module}")), name


@pytest.mark.parametrize("kind", [LaunchOptions, LaunchResult, JoinResult, Settings])
def test_reference_has_what_a_launch_takes_and_gives(kind: type) -> None:
    text = section(REFERENCE, "## Python")
    for field in dataclasses.fields(kind):
        assert f"`{field.name}`" in text
