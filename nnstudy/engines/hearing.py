"""What many workers tell, made into what one launch tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from nnstudy.errors import UserError
from nnstudy.search.events import Emit, Event

_MOST_DEATHS = 10


@dataclass
class Hearing:
    """Hears the workers of a launch.

    Attributes:
        emit: Hears what the launch tells.
        error: What made the first worker give up, if one has.
    """

    emit: Emit
    error: Event | None = None
    _deaths: int = 0
    _told: set[tuple[str, str]] = field(default_factory=set)

    def hear(self, event: Event) -> None:
        """Passes an event on, unless it is an error, or of a stage and was told of before."""
        if event.kind in ("epoch", "end"):
            self._deaths = 0
        if event.kind == "error":
            self.error = self.error or event
            return
        if event.kind in ("stage", "message") and "stage" in event.values:  # each worker has it
            key = (event.kind, event.values["stage"])
            if key in self._told:
                return
            self._told.add(key)
        self.emit(event)

    def hear_of_death(self, how: str, cure: str) -> None:
        """Warns of a worker's death.

        Args:
            how: ``a worker died by SIGKILL``.
            cure: What may help where all of them do.

        Raises:
            UserError: If too many have died with nothing done in between.
        """
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise UserError(
                f"{how}, as {self._deaths - 1} did before, and no epoch was finished in between;"
                f" is there enough memory? {cure}. The study is stored: launch it again to go on"
            )
        self.emit(Event("warning", {"text": f"{how}; another one starts"}))

    def raise_error(self) -> None:
        """Raises what made a worker give up.

        Raises:
            UserError: If the user can put it right.
            RuntimeError: If it is a defect, with the worker's traceback.
        """
        if self.error is None:
            return
        values = self.error.values
        if values["exit_code"] == 2:
            raise UserError(values["text"])
        raise RuntimeError(f"a worker failed:\n{values['traceback']}")
