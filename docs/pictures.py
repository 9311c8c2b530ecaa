"""Makes the pictures of docs/images from real runs: examples, the live table, MLflow's pages.

    python docs/pictures.py [DIRECTORY]

A range test of it, and what mattered in a search, are drawn too. The study is launched in the directory, an empty one, whose path shows in the pictures. Needs Chromium (``CHROMIUM``, by default /usr/bin/chromium) and playwright, which the extra
``test`` installs.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

import nnstudy
from nnstudy.cli.live import LiveTable
from nnstudy.search.events import Event

IMAGES = Path(__file__).resolve().parent / "images"
COMMAND = "nnstudy launch digits"
_BROWSER = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Photographer(LiveTable):
    """The live table of a launch, caught once after half of the trials."""

    def __init__(self) -> None:
        console = Console(record=True, width=132, file=io.StringIO(), highlight=False)
        super().__init__(console)
        self.caught = False

    def hear(self, event: Event) -> None:
        """Takes note of an event, and the picture when it is time."""
        super().hear(event)
        trials = self.progress.running.values()
        late = 2 * self.progress.finished >= self.progress.trials > 0
        shows = len(trials) > 1 and max(trial.epoch for trial in trials) >= 5
        if late and shows and not self.caught and all(trial.score for trial in trials):
            self.caught = True
            self.console.print(self.render())

    def take(self) -> None:
        """Launches the study and writes the picture."""
        self.console.print(Text(f"$ {COMMAND}", "bold"))
        nnstudy.launch("digits", emit=self.hear, workers=2)
        if not self.caught:
            raise SystemExit("no moment with two running trials was seen; try again")
        self.console.save_svg(str(IMAGES / "live_table.svg"), title="nnstudy")


def photograph_pages(address: str) -> None:
    """Takes pictures of the table of runs and of the charts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=[*_BROWSER]
        )
        page = browser.new_page(viewport={"width": 1500, "height": 1220}, device_scale_factor=1.25)
        page.goto(address)
        page.wait_for_selector("text=search-0", timeout=60_000)
        # The assistant's pane, the names of MLflow's other pages, a hint: all but the runs.
        for name in ("Close", "Toggle sidebar", "Hide banner"):
            page.get_by_role("button", name=name, exact=True).first.click()
        _photograph(page, "mlflow_runs.png", height=880)
        page.goto(f"{page.url}&compareRunsMode=CHART")
        page.get_by_text("log10_lr vs. best/accuracy/valid").wait_for()
        _photograph(page, "mlflow_charts.png", height=1132)
        browser.close()


def _photograph(page: Page, name: str, height: int) -> None:
    page.mouse.move(700, 5)
    page.wait_for_timeout(3_000)  # charts are drawn one after the other
    clip: Any = {"x": 54, "y": 8, "width": 1436, "height": height}
    page.screenshot(path=IMAGES / name, clip=clip)


def serve(directory: str) -> tuple[subprocess.Popen[str], str]:
    """Starts ``nnstudy ui`` and returns its process and the address it announces."""
    server = subprocess.Popen(
        [sys.executable, "-m", "nnstudy", "ui", "digits", "--port", "5057"],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(IMAGES.parents[1])},
    )
    assert server.stdout is not None
    return server, shlex.split(server.stdout.readline())[1]


def draw_examples() -> None:
    """Draws what ``nnstudy check`` shows of the digits."""
    with tempfile.TemporaryDirectory() as directory:
        nnstudy.check("digits", output=Path(directory))
        shutil.copy(Path(directory) / "examples.png", IMAGES)


def draw_importance() -> None:
    """Searches with many short trials, and draws what mattered."""
    command = [sys.executable, "-m", "nnstudy"]
    search = "launch digits --name mattering --trials 60 --epochs 6 --quiet"
    for arguments in (search, "importance mattering --output mattered"):
        subprocess.run([*command, *arguments.split()], check=True)  # noqa: S603
    shutil.copy("mattered/search/slices.png", IMAGES / "importance.png")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    draw_examples()
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else temporary
        os.chdir(directory)
        rates = str(IMAGES / "lr_find.png")
        command = [sys.executable, "-m", "nnstudy", "lr-find", "digits", "--output", rates]
        subprocess.run(command, check=True)  # noqa: S603
        draw_importance()
        Photographer().take()
        server, address = serve(directory)
        try:
            photograph_pages(address)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
