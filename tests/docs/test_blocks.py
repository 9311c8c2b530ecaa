"""Every block of the documentation runs, a page in one directory from top to bottom."""

from __future__ import annotations

import doctest
import os
import re
import secrets
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.docs.markdown import PAGES, ROOT, Block, blocks
from tests.postgres import PostgresServer
from tests.tracking.served import Server

RUN = ("bash", "console", "python")
BY_CI = ("install-and-run", "install-and-test")

# What the pages call the servers of a team.
STORAGE = "postgresql://ada:secret@db.example.org/optuna"
MLFLOW = "http://mlflow.example.org:5000"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    known = re.compile(r"|not run: \w.*|file: [\w./-]+\.py|postgres|" + "|".join(BY_CI))
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.language in (*RUN, "text"), f"{where}: fenced as {block.language!r}"
        assert known.fullmatch(block.marker), f"{where}: unknown marker {block.marker!r}"
        if block.marker.startswith("file:"):
            assert block.language == "python", where


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    session = Session(page, tmp_path)
    for block in blocks(page):
        if block.language in RUN and is_run_here(block):
            session.run(block)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_team_types_works_on_real_servers(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chosen = [block for block in blocks(page) if block.marker == "postgres"]
    if not chosen:
        pytest.skip("the page has no such block")
    database: PostgresServer = request.getfixturevalue("postgres_server")
    tracking = database.new_database().replace("postgresql://", "postgresql+psycopg://")
    server = Server(tracking, str(tmp_path / "artifacts"))
    try:
        session = Session(page, tmp_path)
        storage = make_url(database.new_database())
        session.replaced = {
            STORAGE: storage.render_as_string(hide_password=False),
            STORAGE.replace(":secret", ""): str(storage._replace(password=None)),
            "PGPASSWORD=secret": f"PGPASSWORD={storage.password}",
            MLFLOW: server.url,
        }
        for block in chosen:
            session.run(block)
    finally:
        server.stop()


def test_readme_has_the_two_commands_that_ci_extracts() -> None:
    readme = blocks(ROOT / "README.md")
    assert [block.marker for block in readme if block.language == "bash"] == [*BY_CI]
    script = (ROOT / ".ci" / "run").read_text()
    extract = re.search(
        r"^block\(\) \{.*?^\s*inside \{ print \}' README\.md\n\}", script, re.M | re.S
    )
    assert extract, ".ci/run has no function block()"
    for block in readme:
        if block.marker in BY_CI:
            done = subprocess.run(
                ["bash", "-c", f"{extract[0]}\nblock {block.marker}"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout == block.text
            assert len(block.text.splitlines()) == 1


def is_run_here(block: Block) -> bool:
    return not block.marker or block.marker.startswith("file:")


def _take_one_core() -> None:
    """Lets a launch have one worker, in its own process: a page has twenty launches."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {secrets.choice([*os.sched_getaffinity(0)])})


class Session:
    """Somebody who types what a page says, in one directory."""

    def __init__(self, page: Path, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.replaced: dict[str, str] = {}
        self._programs = directory / ".bin"
        self._programs.mkdir()
        self._install("nnstudy", "-m", "nnstudy")
        self._install("python")
        # Exports of one block hold in the next.
        self._environment = directory / ".environment"
        self._environment.touch()

    def run(self, block: Block) -> None:
        text = block.text
        for shown, real in self.replaced.items():
            text = text.replace(shown, real)
        if block.marker.startswith("file:"):
            path = self.directory / block.marker.removeprefix("file:").strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif block.language == "python":
            script = self.directory / f".block_{block.line}.py"
            script.write_text(text)
            self._bash(block, f"python {script.name}")
        elif block.language == "bash":
            self._bash(block, text)
        else:
            self._console(block, text)

    def _console(self, block: Block, text: str) -> None:
        for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, wanted = entry.partition("\n")
            shown = self._bash(block, command)
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            if wanted and not doctest.OutputChecker().check_output(wanted, shown, flags):
                pytest.fail(
                    f"{self.page.name}:{block.line}: {command}\nshows\n{shown}\nnot\n{wanted}"
                )

    def _bash(self, block: Block, script: str) -> str:
        quoted = shlex.quote(str(self._environment))
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail; . {quoted}\n{script}\nexport -p >{quoted}"],
            cwd=self.directory,
            env=self._variables(),
            preexec_fn=_take_one_core,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{self.page.name}:{block.line}:\n{script}\n{done.stdout}"
        return done.stdout

    def _variables(self) -> dict[str, str]:
        mine = {
            name: value
            for name, value in os.environ.items()
            if name not in ("NNSTUDY_STORAGE", "MLFLOW_TRACKING_URI", "NNSTUDY_DATA_DIR")
        }
        return mine | {
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "COLUMNS": "200",
        }

    def _install(self, name: str, *arguments: str) -> None:
        program = self._programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *arguments])} "$@"\n')
        program.chmod(0o755)
