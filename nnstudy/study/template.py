"""A new study file: commented, and running as it is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template

from nnstudy.errors import UserError
from nnstudy.study.names import validate_name


def new_study(name: str, directory: Path = Path("studies")) -> Path:
    """Writes a study file to start from, ``directory/name.py``.

    Args:
        name: Of the study and of its file.
        directory: Made if it does not exist.

    Returns:
        The path of the file.

    Raises:
        UserError: If the name cannot be one, the file exists, or it cannot be written.
    """
    validate_name(name)
    path = directory / f"{name}.py"
    template = files("nnstudy.study").joinpath("template.py.txt").read_text(encoding="utf-8")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(Template(template).substitute(name=name))
    except FileExistsError:
        taken = path if path.exists() else directory
        raise UserError(f"{taken} exists already; choose another name or remove it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path
