"""Exit codes beside 0, done, and 1, a defect of ours."""

from __future__ import annotations

BAD_INPUT = 2
"""As click has it for options that it does not understand."""

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
