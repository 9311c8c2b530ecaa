"""The program ``nnstudy`` and what all its commands have in common."""

from __future__ import annotations

from typing import Any

import click

from nnstudy import __version__
from nnstudy.cli.check import check
from nnstudy.cli.confirm import confirm
from nnstudy.cli.distill import distill
from nnstudy.cli.doctor import doctor
from nnstudy.cli.enqueue import enqueue
from nnstudy.cli.ensemble import ensemble
from nnstudy.cli.evaluate import evaluate
from nnstudy.cli.exit_codes import BAD_INPUT, INTERRUPTED
from nnstudy.cli.importance import importance
from nnstudy.cli.launch import launch
from nnstudy.cli.list import list_
from nnstudy.cli.lr_find import lr_find
from nnstudy.cli.new import new
from nnstudy.cli.predict import predict
from nnstudy.cli.race import race
from nnstudy.cli.status import status
from nnstudy.cli.stop import stop
from nnstudy.cli.ui import ui
from nnstudy.cli.worker import worker
from nnstudy.errors import UserError


class Program(click.Group):
    """A group of commands whose exit codes mean something."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; what the user can put right ends with exit code 2."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _BadInput(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names the commands in the order in which they are needed."""
        return list(self.commands)


class _BadInput(click.ClickException):
    exit_code = BAD_INPUT


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
\b
Examples:
  nnstudy launch digits          search over the shipped study of handwritten digits
  nnstudy status                 what is stored, what runs, how long it will take
  nnstudy ui digits              look at curves and parameters in MLflow's pages
  nnstudy new mine               write a study to start from: studies/mine.py

\b
Exit codes:
  0    done
  1    a defect of nnstudy, with its traceback
  2    something you can put right, with a message that says how
  130  ended before it was complete; launch it again to go on

\b
Completion of commands, options and study names; put the line into your shell's start-up file:
  bash  eval "$(_NNSTUDY_COMPLETE=bash_source nnstudy)"
  zsh   eval "$(_NNSTUDY_COMPLETE=zsh_source nnstudy)"
  fish  _NNSTUDY_COMPLETE=fish_source nnstudy | source
""",
)
@click.version_option(__version__, prog_name="nnstudy")
def program() -> None:
    """Tune neural networks the way a careful person would.

    Optuna searches, PyTorch trains, MLflow remembers.
    """


for _command in (
    *(
        launch,
        worker,
        confirm,
        ensemble,
        distill,
        predict,
        check,
        lr_find,
        race,
        status,
        importance,
        list_,
    ),
    *(new, ui, stop, enqueue, evaluate, doctor),
):
    program.add_command(_command)
