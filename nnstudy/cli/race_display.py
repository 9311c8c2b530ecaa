"""What a race shows while it runs."""

from __future__ import annotations

from typing import Any

import click

from nnstudy.cli import words
from nnstudy.cli.display import Display, Lines, choose_display
from nnstudy.search.events import Event


def choose_race_display(*, quiet: bool, as_json: bool) -> Display:
    """Returns the display that fits the options."""
    return choose_display(quiet=quiet, as_json=as_json) if quiet or as_json else Searches()


class Searches(Lines):
    """A line for each search that ends, since their trials come all at once."""

    def __init__(self) -> None:
        super().__init__()
        self._trials: dict[str, tuple[int, int]] = {}
        self._best: dict[str, float | None] = {}
        self._better = max
        self._metric = ""

    def hear(self, event: Event) -> None:
        """Prints a line for what is worth one."""
        values = event.values
        if event.kind == "stage":
            self._trials[values["stage"]] = (values["finished"], values["trials"])
            self._best[values["stage"]] = values["best"]
            self._better = max if values["direction"] == "maximize" else min
            self._metric = values["metric"]
        elif event.kind == "end":
            self._count(values)
        else:
            self.show(event, {})

    def _count(self, values: dict[str, Any]) -> None:
        stage = values["stage"]
        finished, trials = self._trials[stage]
        self._trials[stage] = finished + 1, trials
        if values["state"] == "complete" and values["value"] is not None:
            known = self._best[stage]
            new = values["value"]
            self._best[stage] = new if known is None else self._better(known, new)
        if finished + 1 == trials:
            best = words.score(self._best[stage])
            click.echo(f"{stage}: {trials} trials, best {self._metric} {best}")
