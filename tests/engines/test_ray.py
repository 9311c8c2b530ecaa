"""Workers as tasks of a real Ray: one that a launch starts, and a cluster of two nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from sqlalchemy.engine import make_url

from nnstudy.engines.options import RayOptions
from nnstudy.engines.ray_cluster import connected
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interruption
from nnstudy.search.leases import Leases
from nnstudy.search.storage import open_storage
from tests.engines.test_local import ROOT, assert_whole, write_study
from tests.launching import Place, make_place, toy

LEASE_SECONDS = 3.0


class TwoNodes:
    """A cluster of two nodes of one CPU each; the second, which can die, says it has a GPU."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self.revive_second()

    @property
    def options(self) -> dict[str, Any]:
        """What makes a launch use it, with a worker on each node."""
        return {**self.one_worker, "workers": 2}

    @property
    def one_worker(self) -> dict[str, Any]:
        """What makes a launch use it."""
        return {"engine": "ray", "ray": self.asked(), "workers": 1}

    def asked(self, **resources: float) -> RayOptions:
        return RayOptions(self._cluster.address, **resources)

    def kill_second(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)

    def revive_second(self) -> None:
        self._second = self._cluster.add_node(num_cpus=1, num_gpus=1)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def on_loopback() -> Iterator[None]:
    """Lets Ray listen on 127.0.0.1 alone and send nothing anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        yield


@pytest.fixture(scope="module")
def nodes(on_loopback: None) -> Iterator[TwoNodes]:
    nodes = TwoNodes()
    yield nodes
    nodes.shutdown()


def leases(place: Place) -> Leases:
    return Leases(open_storage(place.storage), "onlooker")


@pytest.mark.slow
def test_a_node_dies_and_the_study_ends_whole(
    place: Place, new_place: Callable[[str], Place], nodes: TwoNodes
) -> None:
    working: set[int] = set()

    def hear(event: Event) -> None:
        if event.kind == "epoch" and len(working) < 2:
            working.add(event.values["trial"])
            if len(working) == 2:  # one on each node
                nodes.kill_second()

    study = write_study(place, seconds=0.5, trials=5)
    options = {"sampler": "random", "settings": {"lease_seconds": LEASE_SECONDS}}
    try:
        result = place.launch(study, hear=hear, **nodes.options, **options)
    finally:
        nodes.revive_second()

    assert result.complete
    assert_whole(place, 5)
    assert [text for text in place.texts("warning") if "died; another one starts" in text]
    assert max(info.token for info in leases(place).all().values()) == 2
    assert not leases(place).held()

    undisturbed = new_place("undisturbed")
    assert undisturbed.launch(write_study(undisturbed, trials=5), **options).complete
    for number in range(5):
        assert place.trials()[number].params == undisturbed.trials()[number].params
        assert place.numbers(number) == undisturbed.numbers(number)


@pytest.mark.slow
def test_a_ray_of_the_launchs_own_hears_no_other_machine_and_starts_what_dies_again(
    place: Place, tmp_path: Path
) -> None:
    study = write_study(place, seconds=0.4, trials=3)
    (place.directory / "to_be_killed").touch()
    launch = subprocess.Popen(
        command(place, study, "--workers", "1", "--threads", "1"),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    heard_at: set[str] = set()
    children: set[psutil.Process] = set()
    assert launch.stdout is not None
    for line in launch.stdout:
        event = json.loads(line)  # and nothing of Ray's between them
        place.events.append(Event(event["event"], event))
        if event["event"] == "epoch":
            children |= {*psutil.Process(launch.pid).children(recursive=True)}
            heard_at |= {address for child in children for address in listens_at(child)}

    assert launch.wait() == 0
    assert_whole(place, 3)
    assert heard_at == {"127.0.0.1"}
    assert "printed by the recipe" in place.texts("output")
    assert len(place.texts("warning")) == 1
    assert "died; another one starts" in place.texts("warning")[0]
    assert max(info.token for info in leases(place).all().values()) == 2
    _, left = psutil.wait_procs(children, timeout=10)
    assert not left


def command(place: Place, study: str, *options: str) -> list[str]:
    """The command that launches in a place on a Ray, for whoever reads its events."""
    return [
        *(sys.executable, "-m", "nnstudy", "launch", study, "--json", "--no-preflight"),
        *("--storage", place.storage, "--tracking-uri", place.tracking_uri, "--device", "cpu"),
        *("--artifacts", str(place.directory / "artifacts")),
        *("--checkpoints", str(place.checkpoints), "--engine", "ray", *options),
    ]


def listens_at(process: psutil.Process) -> set[str]:
    try:
        connections = process.net_connections("inet")
    except psutil.Error:
        return set()
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.slow
def test_a_signal_to_the_launcher_ends_it_with_all_saved_and_another_engine_completes(
    place: Place, nodes: TwoNodes
) -> None:
    study = write_study(place, seconds=0.3, trials=3)
    interruption = Interruption()

    def hear(event: Event) -> None:
        if event.kind == "epoch" and not interruption.requested:
            os.kill(os.getpid(), signal.SIGTERM)

    with interruption.on_signals():
        one_waits = {**nodes.options, "workers": 3}
        result = place.launch(study, hear=hear, interruption=interruption, **one_waits)

    assert not result.complete
    assert not leases(place).held()
    begun = [trial for trial in place.trials() if not trial.state.is_finished()]
    assert begun
    assert any(place.curves(trial.number).get("loss/valid") for trial in begun)
    assert place.launch(study).complete
    assert_whole(place, 3)
    assert not any(info.deaths for info in leases(place).all().values())


@pytest.mark.slow
def test_a_worker_that_its_node_ends_hands_its_trial_back_and_starts_elsewhere(
    place: Place, nodes: TwoNodes
) -> None:
    ended: list[int] = []

    def hear(event: Event) -> None:
        if event.kind == "epoch" and not ended:
            owners = leases(place).all()
            ended.extend(int(info.owner.rpartition(":")[2]) for info in owners.values())
            os.kill(ended[0], signal.SIGTERM)

    assert place.launch(
        write_study(place, seconds=0.3, trials=2), hear=hear, **nodes.options
    ).complete
    assert_whole(place, 2)
    assert sorted(info.token for info in leases(place).all().values()) == [1, 2]
    assert not any(info.deaths for info in leases(place).all().values())


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_tasks_at_once(place: Place, nodes: TwoNodes) -> None:
    wait = "for _ in range(300): time.sleep(0.1)"
    searched = f"if trial.study.study_name == 'toy/search':\n        {wait}"
    study = write_study(place, trials=2, statement=searched)
    interruption = Interruption()

    def hear(event: Event) -> None:
        if event.kind == "cost":
            threading.Thread(target=ctrl_c_twice, daemon=True).start()

    def ctrl_c_twice() -> None:
        while not leases(place).held():
            threading.Event().wait(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    with interruption.on_signals(), pytest.raises(KeyboardInterrupt):
        place.launch(study, hear=hear, interruption=interruption, **nodes.options)

    assert not leases(place).held()
    owners = {int(info.owner.rpartition(":")[2]) for info in leases(place).all().values()}
    assert owners
    _, left = psutil.wait_procs(map(psutil.Process, owners & {*psutil.pids()}), timeout=5)
    assert not left


@pytest.mark.slow
def test_an_error_in_a_worker_ends_the_launch_with_its_words(place: Place, nodes: TwoNodes) -> None:
    raises = "if trial.study.study_name == 'toy/search': raise ArithmeticError('no luck')"
    with pytest.raises(UserError, match=r"all of the first . trials(.|\n)*no luck"):
        place.launch(write_study(place, statement=raises), **nodes.one_worker)


@pytest.mark.slow
def test_a_study_made_in_a_notebook_is_sent_to_its_tasks(place: Place, nodes: TwoNodes) -> None:
    factor = 0.5

    def recipe(trial: optuna.Trial, data: Any) -> Any:
        from tests.launching import recipe as other

        trial.suggest_float("closed_over", 0, factor)
        return other(trial, data)

    before = signal.getsignal(signal.SIGTERM)
    result = place.launch(toy(recipe, trials=3, epochs=1), **nodes.one_worker)
    assert signal.getsignal(signal.SIGTERM) is before
    assert result.endings == {"complete": 3}


@pytest.mark.slow
def test_a_node_without_the_study_file_gets_its_sources(place: Place, nodes: TwoNodes) -> None:
    study = Path(write_study(place, trials=2))
    helper = study.with_name("helper_of_study.py")
    helper.write_text("momentum = 0.9\n")
    study.write_text(f"from helper_of_study import momentum\n{study.read_text()}")

    def hear(event: Event) -> None:
        if event.kind == "cost":  # all is looked at, and no task has begun
            study.unlink()
            helper.unlink()

    assert place.launch(str(study), hear=hear, **nodes.one_worker).complete
    assert_whole(place, 2)


@pytest.mark.slow
def test_what_no_node_has_or_cannot_be_sent_is_refused_before_anything_is_stored(
    place: Place, nodes: TwoNodes
) -> None:
    for asked, said in [
        (nodes.asked(cpus_per_trial=2), "has 2 CPUs and 0 GPUs"),
        (nodes.asked(gpus_per_trial=2), "has 1 CPUs and 2 GPUs"),
    ]:
        with pytest.raises(UserError, match=f"{said}.*the largest has 1 CPUs and 1 GPUs"):
            place.launch(toy(), **{**nodes.options, "ray": asked})
    lock = threading.Lock()
    with pytest.raises(UserError, match="cannot be sent to 1 workers"):
        place.launch(toy(lambda *asked: lock), **nodes.one_worker)
    assert not (place.directory / "optuna.db").exists()


@pytest.mark.slow
def test_two_workers_share_a_gpu_and_see_no_other(place: Place, nodes: TwoNodes) -> None:
    asked = nodes.asked(cpus_per_trial=0.5, gpus_per_trial=0.5)
    with connected(asked) as cluster:
        assert cluster.workers == 2
        assert cluster.hosts == {socket.gethostname()}
    shown = "print('GPU', os.environ.get('CUDA_VISIBLE_DEVICES'), 'of', os.getpid())"
    both = f"if trial.study.study_name == 'toy/search': meet(2); {shown}"
    options = {**nodes.options, "ray": asked, "workers": None}

    assert place.launch(write_study(place, trials=2, statement=both), **options).complete
    texts = {text for text in place.texts("output") if text.startswith("GPU")}
    assert len(texts) == 2
    assert {text.split()[1] for text in texts} == {"0"}


@pytest.mark.slow
@pytest.mark.postgres
def test_a_password_reaches_no_log_of_ray(
    fresh_mlflow: Path, tmp_path: Path, postgres_url: str, nodes: TwoNodes
) -> None:
    word = make_url(postgres_url).password
    assert word
    place = make_place(tmp_path / "place", fresh_mlflow, postgres_url)
    study = write_study(place, trials=1)
    options = ("--address", str(nodes.asked().address), "--workers", "1")
    done = subprocess.run(
        command(place, study, *options),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert word not in done.stdout + done.stderr
    logs = [path for path in Path("/tmp/ray").glob("session_2*/logs/**/*") if path.is_file()]
    assert len(logs) > 10
    assert not [path for path in logs if word.encode() in path.read_bytes()]


def test_without_ray_it_is_said_how_to_install_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'nnstudy\[ray\]'"):
        place.launch(toy(), engine="ray")
    assert not (place.directory / "optuna.db").exists()


def test_an_address_where_nothing_answers_is_refused_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(UserError, match="nothing answers"), connected(RayOptions(address)):
            pass


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cpus_per_trial": 0}, "--cpus-per-trial must be above 0"),
        ({"gpus_per_trial": 1.5}, "a share of one GPU or a whole number, got 1.5"),
        ({"gpus_per_trial": -1}, "got -1"),
    ],
)
def test_resources_that_cannot_be_meant_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        RayOptions(**values)
