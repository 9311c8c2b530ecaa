"""A command as the user would have to type it again, without secrets."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import click
from click.core import ParameterSource

from nnstudy.secret_urls import mask


def program() -> str:
    """Returns what to type for this program.

    That is its path where it was called by one that the shell would not find by name, as in a
    virtual environment that is not activated.
    """
    called = Path(sys.argv[0])
    found = shutil.which("nnstudy")
    if called.name != "nnstudy" or (found and Path(found).resolve() == called.resolve()):
        return "nnstudy"
    return shlex.quote(sys.argv[0])


_TRANSIENT = frozenset({"quiet", "as_json", "download"})


def retyped(ctx: click.Context, *, only: Collection[str] | None = None) -> str:
    """Returns the options that were typed, ready to be typed again.

    Args:
        ctx: Of the command.
        only: Names of the parameters that matter; None: all but those of the output.

    Returns:
        ``" --epochs 3 --storage 'sqlite:///a b.db'"``, with a leading space, passwords masked;
        or nothing.
    """
    words: list[str] = []
    for param in ctx.command.params:
        name = param.name or ""
        typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        wanted = name not in _TRANSIENT if only is None else name in only
        if isinstance(param, click.Option) and typed and wanted:
            words += _words(param, ctx.params[name])
    return "".join(f" {shlex.quote(word)}" for word in words)


def _words(option: click.Option, value: object) -> Iterable[str]:
    flag = max(option.opts, key=len)
    if option.is_flag:
        return [flag]
    if isinstance(value, dict):
        pairs = [[flag, f"{key}={_json(item)}"] for key, item in value.items()]
        return [word for pair in pairs for word in pair]
    if isinstance(value, tuple) and option.multiple:
        return [word for one in value for word in (flag, mask(str(one)))]
    if isinstance(value, tuple):
        return [flag, ",".join(map(str, value))]
    return [flag, mask(str(value))]


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
