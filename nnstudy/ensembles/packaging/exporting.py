"""The ensemble as one program of ``torch.export``, which needs none of the study's code."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from nnstudy.ensembles.packaging.module import EnsembleModule
from nnstudy.errors import UserError
from nnstudy.training.checkpoints.atomic_write import write_atomically

_LONGEST_REASON = 300
_TOLERANCE = 1e-5


def export(module: EnsembleModule, examples: Tensor, path: Path) -> None:
    """Writes a module as a program that ``torch.export.load`` reads.

    It takes inputs as they came, any number at once, and answers as the module does.

    Args:
        module: On the CPU.
        examples: At least two inputs as they came.
        path: Where to.

    Raises:
        UserError: If a network does something that cannot be exported, the program does not
            answer alike, or the file cannot be written.
    """
    try:
        program = torch.export.export(
            module, (examples,), dynamic_shapes={"inputs": {0: Dim("examples")}}
        )
    except Exception as error:  # whatever the user's network makes it raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST_REASON]
        raise UserError(f"the ensemble cannot be exported: {reason}") from error
    for inputs in (examples, examples[:1]):
        _refuse_other_answers(program, module, inputs)
    program.example_inputs = None  # they would be the only pickle in the file
    content = io.BytesIO()
    torch.export.save(program, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(
            f"the exported ensemble cannot be written to {path}: {error.strerror or error}"
        ) from error


def _refuse_other_answers(program: ExportedProgram, module: EnsembleModule, inputs: Tensor) -> None:
    found, wanted = program.module()(inputs), module(inputs)
    for name, values in wanted.items():
        if not torch.allclose(found[name], values, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise UserError("the exported program answers differently, so it is not written")
