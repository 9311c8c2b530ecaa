"""A live table of a launch, for terminals."""

from __future__ import annotations

import contextlib
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nnstudy.cli import words
from nnstudy.cli.display import ENDING, Display, describe
from nnstudy.search.events import Event

_REFRESHES = 4  # a second
_PARAMETERS = 6


class LiveTable(Display):
    """Shows the running trials, the best one and the time left, all in one place.

    Args:
        console: Where to; default: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(highlight=False)
        self._ending = False
        self._live = Live(
            console=self.console,
            get_renderable=self.render,
            refresh_per_second=_REFRESHES,
            transient=True,
        )

    def open(self, closing: contextlib.ExitStack) -> None:
        """Shows the table, which is removed in the end."""
        closing.enter_context(self._live)

    def show(self, event: Event, params: dict[str, Any]) -> None:
        """Prints what is to stay above the table; the rest the table shows by itself."""
        text = describe(event, self.progress, params)
        if text is not None and (event.kind != "end" or event.values["state"] == "failed"):
            style = "yellow" if event.kind in ("warning", "end") else ""
            self.console.print(Text(text, style))

    def announce_ending(self) -> None:
        """Leaves it to the table's thread to say so, as printing is not safe here."""
        self._ending = True

    def result(self, lines: list[str], fields: dict[str, Any]) -> None:
        """Prints all lines."""
        self.console.print(Text("\n".join(lines)))

    def render(self) -> RenderableType:
        """Returns the present picture."""
        progress = self.progress
        if not progress.trials:
            checked = f", checked: {progress.checked}" if progress.checked else ""
            return Text("ending" if self._ending else f"getting ready{checked} ...", "dim")
        parts: list[RenderableType] = [self._headline()]
        if progress.best:
            parts.append(self._best())
        if progress.running:
            parts.append(self._trials())
        if self._ending:
            parts.append(Text(ENDING, "yellow"))
        return Group(*parts)

    def _headline(self) -> RenderableType:
        progress = self.progress
        left = progress.seconds_left()
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            Text(f"{progress.study}/{progress.stage}", "bold"),
            ProgressBar(progress.trials, progress.finished, width=24),
            f"{progress.finished} of {progress.trials} trials",
            Text(words.counted(progress.endings), "dim"),
            f"{words.duration(left)} left" if left is not None else "",
        )
        return grid

    def _best(self) -> RenderableType:
        best = self.progress.best
        assert best is not None
        which = f"trial {best.number}" if best.number is not None else "an earlier launch"
        shown = words.parameters(best.params, _PARAMETERS)
        text = f"best: {self.progress.metric} {words.score(best.value)}, {which}"
        return Text(f"{text} ({shown})" if shown else text, "green")

    def _trials(self) -> RenderableType:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for heading in ("trial", "epoch", self.progress.metric, "age"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("parameters", no_wrap=True, overflow="ellipsis")
        now = self.progress.clock()
        for trial in list(self.progress.running.values()):
            table.add_row(
                str(trial.number),
                f"{trial.epoch:g}/{trial.epochs:g}",
                words.score(trial.score),
                words.duration(now - trial.began),
                words.parameters(trial.params),
            )
        return table
