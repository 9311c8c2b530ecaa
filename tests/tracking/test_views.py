from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from nnstudy.tracking import Tracker, views
from tests.tracking.served import Server

_CHROMIUM = "/usr/bin/chromium"
_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def unpack(value: str) -> dict[str, Any]:
    envelope = json.loads(value)
    packed = base64.b64decode(envelope["state"].removeprefix("deflate;"))
    state: dict[str, Any] = json.loads(zlib.decompress(packed))
    return state


def test_view_sorts_by_the_best_value_and_shows_the_parameters() -> None:
    key, value = views.saved_view(["lr", "units"], "loss/valid", ascending=True, tags=["state"])
    state = unpack(value)
    assert key == f"mlflow.sharedViewState.{views.VIEW_ID}"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best/loss/valid`", True)
    assert state["selectedColumns"] == [
        "metrics.`best/loss/valid`",
        "tags.`state`",
        "params.`lr`",
        "params.`units`",
    ]


def test_a_view_of_very_many_parameters_still_fits() -> None:
    names = [f"layer_{number}/{hash(str(number))}" for number in range(2000)]
    _, value = views.saved_view(names, "loss/valid", ascending=True, numbers=names)
    assert len(value) <= 20_000
    assert len(unpack(value)["selectedColumns"]) > 50


@pytest.mark.parametrize(
    ("installed", "read"), [("3.14.0", False), ("3.15.0", True), ("3.17.2", True), ("4.0.0", False)]
)
def test_versions_that_do_not_know_the_format_get_no_view(
    installed: str, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "version", lambda package: installed)
    assert views.understood() is read


@pytest.fixture
def server(store: tuple[str, str]) -> Iterator[Server]:
    running = Server(*store)
    yield running
    running.stop()


@pytest.fixture
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_SWITCHES)
        yield browser.new_page(viewport={"width": 2000, "height": 2400})
        browser.close()


def failed(response: Any) -> bool:
    # MLflow asks for the account also where it runs without accounts
    return bool(response.status >= 400 and not response.url.endswith("/users/current"))


def write_study(tracker: Tracker) -> tuple[str, str | None]:
    experiment = tracker.experiment("digits", metric="accuracy/valid", description="Eight by eight")
    stage = tracker.stage_run(experiment, "digits", "coarse", key="digits/coarse", note="The story")
    ends = ["FINISHED", "FINISHED", "KILLED", "FAILED", "FINISHED", "FINISHED"]
    for number, status in enumerate(ends):
        lr = 10 ** (-number / 2)
        trial = tracker.trial_run(
            experiment,
            stage.run_id,
            number=number,
            name=f"trial {number}",
            key=f"digits/coarse/{number}",
            params={"lr": lr, "log10_lr": math.log10(lr), "units": 16 + number},
        )
        for step in range(6):
            values = {"loss/train": 1 / (step + 1), "loss/valid": 1.1 / (step + 1)}
            values |= {"accuracy/valid": 0.5 + 0.01 * number, "update_ratio/1.weight": 1e-3}
            trial.log(values, step=step, timestamp=1_700_000_000_000 + step)
        best = {"accuracy/valid": 0.5125 + 0.01 * number}
        trial.finish(status, {"state": "x"}, best)  # type: ignore[arg-type]  # one of the literals
    stage.finish()
    view = tracker.saved_view(
        experiment,
        ["lr", "units"],
        "accuracy/valid",
        ascending=False,
        numbers=["log10_lr", "units"],
    )
    return experiment, view


@pytest.mark.slow
@pytest.mark.browser
def test_runs_page_shows_the_story_at_first_sight(
    server: Server, tracker: Tracker, page: Any
) -> None:
    from playwright.sync_api import expect

    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda got: errors.append(got.url) if failed(got) else None)
    experiment, view = write_study(tracker)
    page.goto(tracker.runs_url(server.url, experiment, view))

    # the table: columns, and the trials from the best to the worst, not folded away
    for header in ("Run Name", "Duration", "best/accuracy/valid", "lr", "units"):
        column = page.get_by_role("columnheader", name=header, exact=True).first
        expect(column).to_be_visible(timeout=30_000)
    names = page.locator("a[href*='/runs/']", has_text="trial ")
    expect(names.first).to_have_text("trial 5")
    assert names.all_inner_texts() == [f"trial {number}" for number in (5, 4, 3, 2, 1, 0)]
    cells = page.locator("[role=gridcell][col-id*='best/accuracy/valid']")
    expect(cells.first).to_have_text("0.5625")
    expect(page.locator("[role=gridcell][col-id*='units']").first).to_have_text("21")

    # the charts: parameters against the best value, then the curves
    page.goto(page.url + "&compareRunsMode=CHART")
    for title in ("Parallel Coordinates", "log10_lr vs. best/accuracy/valid"):
        expect(page.get_by_text(title).first).to_be_visible(timeout=30_000)
    for curve in ("accuracy/valid", "loss/train", "loss/valid"):
        expect(page.get_by_text(curve, exact=True).first).to_be_visible(timeout=30_000)
    assert errors == []
