"""The command line: parse, call one function, print.

Nothing heavy is imported before a command runs, so that ``nnstudy --help`` answers at once.
"""

from __future__ import annotations

from nnstudy.cli.program import program as main

__all__ = ["main"]
