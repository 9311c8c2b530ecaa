"""Running code that was kept with a study, from a directory that holds nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from nnstudy.study.loading import load_study
from nnstudy.study.sources import Sources
from nnstudy.study.study import Study

# As long as the process: a recipe may import when it is called.
_directories: list[tempfile.TemporaryDirectory[str]] = []


def load_kept(sources: Sources, where: str, say: Callable[[str], None]) -> Study:
    """Runs kept code and returns its study.

    It is written anew, so that no other file that lies beside it can be imported.

    Args:
        sources: The code, whose hashes were verified.
        where: With what it is kept, in words.
        say: Told which code is run, before it is.

    Raises:
        UserError: If it raises, or holds no such study.
    """
    directory = tempfile.TemporaryDirectory(prefix="nnstudy-code-")
    _directories.append(directory)
    file = sources.write_to(Path(directory.name))
    say(
        f"running the study's code kept {where} to rebuild its networks:"
        f" {', '.join(sources.files)} (hash {sources.hash}, verified)"
    )
    return load_study(f"{file}:{sources.variable}").study
