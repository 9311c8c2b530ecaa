"""Names and options of samplers and pruners, checked against the classes that take them."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from optuna.exceptions import ExperimentalWarning

from nnstudy.errors import UserError

_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str, "dict": dict}


def known_name(kind: str, name: str, names: Collection[str]) -> str:
    """Returns ``name``, or raises UserError with the names there are.

    Args:
        kind: What is named ("sampler").
        name: As the user gave it.
        names: Those there are.
    """
    if name in names:
        return name
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UserError(f"Unknown {kind} {name!r}.{hint} There are: {', '.join(names)}")


def signature_options(cls: type, *, without: Iterable[str] = ()) -> dict[str, frozenset[str]]:
    """Returns the options of a class that plain values can be given for.

    Args:
        cls: A sampler or pruner of Optuna.
        without: Parameters of its constructor that are not the user's to set.

    Returns:
        The names of the allowed types (``int``, ``float``, ``bool``, ``str``, ``None``) by
        option.
    """
    options = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        types = frozenset(
            part.strip()
            for part in inspect.formatannotation(parameter.annotation).strip("'").split("|")
        )
        if name not in without and types <= {*_TYPES, "None"}:
            options[name] = types
    return options


def check_options(
    what: str, given: Mapping[str, object], allowed: Mapping[str, frozenset[str]]
) -> None:
    """Raises UserError for an option that does not exist or has a value of the wrong type.

    Args:
        what: Whose options they are ("sampler tpe").
        given: Options as the user gave them.
        allowed: As ``signature_options`` returns them.
    """
    for name, value in given.items():
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise UserError(f"The {what} has no option {name!r}. Its options: {known}")
        if not any(_fits(value, type_name) for type_name in allowed[name]):
            wanted = " or ".join(sorted(allowed[name]))
            raise UserError(f"The option {name} of the {what} must be {wanted}, got {value!r}")


def build(what: str, cls: Any, options: Mapping[str, Any]) -> Any:
    """Returns ``cls(**options)``; a value it does not accept becomes a UserError."""
    try:
        with warnings.catch_warnings():
            # Samplers are made once a trial, and nobody needs to be told as often.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"The {what} does not accept its options: {error}") from error


def _fits(value: object, type_name: str) -> bool:
    if type_name == "None":
        return value is None
    if type_name == "float" and type(value) is int:
        return True
    return type(value) is _TYPES[type_name]
