"""Running a function in several real processes at once."""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Callable
from typing import Any

# Fork would share connections and locks, which no two workers do.
_context = multiprocessing.get_context("spawn")


def run_at_once(
    function: Callable[..., Any], arguments: list[tuple[Any, ...]], seconds: float = 120
) -> list[Any]:
    """Calls ``function`` once per arguments, each in a process, all beginning together.

    Returns what the calls returned, in any order; raises what one of them raised.
    """
    barrier = _context.Barrier(len(arguments))
    answers = _context.Queue()
    processes = [
        _context.Process(target=_call, args=(function, given, barrier, answers), daemon=True)
        for given in arguments
    ]
    for process in processes:
        process.start()
    try:
        results = [_next(answers, processes, time.monotonic() + seconds) for _ in processes]
    finally:
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _next(answers: Any, processes: list[Any], deadline: float) -> Any:
    while True:
        try:
            return answers.get(timeout=0.2)
        except queue.Empty:
            if all(process.exitcode is not None for process in processes):
                raise RuntimeError("A process ended without an answer") from None
            if time.monotonic() > deadline:
                raise TimeoutError("The processes did not end in time") from None


def _call(function: Callable[..., Any], given: tuple[Any, ...], barrier: Any, answers: Any) -> None:
    barrier.wait(60)
    try:
        answers.put(function(*given))
    except Exception as error:
        answers.put(RuntimeError(f"{type(error).__name__}: {error}"))
