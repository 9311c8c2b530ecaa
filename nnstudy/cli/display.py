"""What a launch shows while it runs: lines, JSON, nothing, or a live table."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import click

from nnstudy.cli import words
from nnstudy.cli.progress import Progress
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interruption

ENDING = "ending after the current epoch; press Ctrl-C again to end now"


def choose_display(*, quiet: bool, as_json: bool, live: bool = True) -> Display:
    """Returns the display that fits the options and the terminal.

    Args:
        quiet: Whether one line at the end is enough.
        as_json: Whether machines read it.
        live: Whether a table of running trials has something to show.
    """
    if as_json:
        return JsonLines()
    if quiet:
        return Display()
    if live and sys.stdout.isatty():
        from nnstudy.cli.live import LiveTable

        return LiveTable()
    return Lines()


class Display:
    """Shows nothing but the result in one line; the base of all displays.

    Attributes:
        progress: What is known of the launch.
    """

    def __init__(self) -> None:
        self.progress = Progress()
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.open(self._closing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives back what the display had taken."""
        self._closing.close()

    def open(self, closing: contextlib.ExitStack) -> None:
        """Takes what the display needs.

        Args:
            closing: Gives it back when the display ends.
        """

    def hear(self, event: Event) -> None:
        """Shows an event."""
        started = self.progress.running.get(event.values.get("trial", -1))
        self.progress.hear(event)
        self.show(event, dict(started.params) if started else {})

    def show(self, event: Event, params: dict[str, Any]) -> None:
        """Shows an event that progress has taken note of.

        Args:
            event: The event.
            params: Parameters of the trial it is about, where they are known.
        """

    def interruption(self) -> Interruption:
        """Returns an interruption that tells the display when it is asked for first."""
        announce = self.announce_ending

        class Announcing(Interruption):
            def request(self) -> None:
                super().request()
                announce()

        return Announcing()

    def announce_ending(self) -> None:
        """Says that Ctrl-C was heard; called from a signal handler."""
        # Streams of Python may be in use just now, and must not be entered twice.
        os.write(2, f"\n{ENDING}\n".encode())

    def result(self, lines: list[str], fields: dict[str, Any]) -> None:
        """Shows what came of the launch.

        Args:
            lines: In words; the first one is enough for those in a hurry.
            fields: The same for machines.
        """
        click.echo(lines[0])


class Lines(Display):
    """One line for each finished trial; warnings go to standard error."""

    def show(self, event: Event, params: dict[str, Any]) -> None:
        """Prints a line for what is worth one."""
        text = describe(event, self.progress, params)
        if text is not None:
            click.echo(text, err=event.kind in ("warning", "output"))

    def result(self, lines: list[str], fields: dict[str, Any]) -> None:
        """Prints all lines."""
        click.echo("\n".join(["", *lines]))


class JsonLines(Display):
    """Each event as a line of JSON; nothing else reaches standard output."""

    def open(self, closing: contextlib.ExitStack) -> None:
        """Takes standard output."""
        self._write = closing.enter_context(_only_writer())

    def show(self, event: Event, params: dict[str, Any]) -> None:
        """Prints the event."""
        self._write(event.to_json())

    def result(self, lines: list[str], fields: dict[str, Any]) -> None:
        """Prints the result as an event of its own."""
        self._write(json.dumps({"event": "result", **fields}, default=str))


@contextlib.contextmanager
def _only_writer() -> Iterator[Callable[[str], None]]:
    """Sends what anybody else prints, a recipe for one, to standard error."""
    output = sys.stdout

    def write(line: str) -> None:
        output.write(line + "\n")
        output.flush()

    with contextlib.redirect_stdout(sys.stderr):
        yield write


def describe(event: Event, progress: Progress, params: dict[str, Any]) -> str | None:
    """Returns an event in a line; None where it is worth none."""
    values = event.values
    match event.kind:
        case "cost":
            return _cost(values)
        case "stage":
            return _stage(values)
        case "end":
            return _end(values, progress.metric, params)
        case "quick":
            return _quick(values)
        case "message" | "output":
            return str(values["text"])
        case "warning":
            return f"Warning: {values['text']}"
    return None


def _quick(values: dict[str, Any]) -> str:
    rate = "" if values["rate"] is None else f" at rate {words.parameter(values['rate'])}"
    seen = values["examples_seen"]
    done = f"{seen} examples" if seen else f"epoch {values['epoch']:g}"
    found = words.validated(values["loss_valid"], values["accuracy_valid"])
    return f"{values['model']}{rate}: {done}, {found}"


def _cost(values: dict[str, Any]) -> str:
    seconds = values["seconds"]
    about = f", about {words.duration(seconds)}" if seconds is not None else ""
    workers = f"{values['workers']} worker{'s' if values['workers'] > 1 else ''}"
    cost = f"{values['trials']} trials, {values['epochs']:g} epochs at most{about} with {workers}"
    return (
        f"{values['study']}: {cost if values['trials'] else 'all trials are finished'}\n"
        f"  storage: {values['storage']}\n"
        f"  MLflow:  {values['tracking']}"
    )


def _stage(values: dict[str, Any]) -> str:
    done = f", {values['finished']} finished before" if values["finished"] else ""
    times = words.times(values["folds"], values["seeds"])
    each = f"{times} of " if times else ""
    return (
        f"stage {values['stage']}: {values['trials']} trials of {each}up to {values['epochs']:g}"
        f" epochs, {values['direction']} {values['metric']}{done}"
    )


def _end(values: dict[str, Any], metric: str, params: dict[str, Any]) -> str:
    state, reason = values["state"], values["reason"]
    if state == "complete":
        rests = words.founded(values["best_epoch"], values["scores"])
        reason = f"{metric} {words.score(values['value'])}{rests}"
    # Most reasons tell the state by themselves: "pruned at epoch 3".
    told = reason if reason.startswith(state) else f"{state}: {reason}"
    text = f"trial {values['trial']} {told}"
    if params:
        text += f" ({words.parameters(params)})"
    return f"{text}, {words.duration(values['seconds'])}"
