"""``python -m nnstudy``: the command line."""

from __future__ import annotations

from nnstudy.cli import main

main(prog_name="python -m nnstudy")
