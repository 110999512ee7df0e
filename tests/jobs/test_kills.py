"""Jobs of several processes, killed, stopped and started again: as if nothing had happened."""

import random
import re
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.train.watchdog import EXIT_CODE
from tests.jobs.pod import Pod
from tests.jobs.tiny_jobs import STEPS, finish, lines, measured, reached, start, state_of

MANY_STEPS = 160  # for twenty kills of some steps each


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a job of two processes that nothing interrupted."""
    return finish(tmp_path_factory.mktemp("whole"))


def ends_soon(pod: Pod, number: int, within: float = 45.0) -> int:
    """The exit code of a process whose peer is gone; the bound is the heartbeat of 5 s and some."""
    return pod.processes[number].wait(within)


def kill_one(where: Path, victim: int, step: int) -> None:
    """kill -9 of one process after a step; the other ends by itself, and says who is gone."""
    with start(where) as pod:
        pod.wait_until(lambda: reached(where / "run") >= step)
        pod.kill(victim)
        survivor = 1 - victim
        assert ends_soon(pod, survivor) not in (0, 2, 143)
        assert re.search("unhealthy|unavailable|closed|another process", pod.log(survivor), re.I)


def test_a_worker_the_coordinator_and_all_are_killed_and_the_trace_is_the_same(
    tmp_path: Path, whole: Path
) -> None:
    """Bit for bit: every logged number, parameters and batch statistics."""
    steps = sorted(random.sample(range(1, STEPS - 10), 3))
    print(f"kill -9 at steps {steps}: worker, coordinator, all")
    kill_one(tmp_path, 1, steps[0])
    kill_one(tmp_path, 0, steps[1])
    with start(tmp_path) as pod:
        pod.wait_until(lambda: reached(tmp_path / "run") >= steps[2])
    run = finish(tmp_path)
    assert measured(run) == measured(whole)
    assert [line["step"] for line in lines(run, "train")] == list(range(1, STEPS + 1))
    jax.tree.map(np.testing.assert_array_equal, state_of(run), state_of(whole))


@pytest.mark.slow
def test_a_preemption_notice_to_one_process_saves_in_all_and_other_numbers_of_them_go_on(
    tmp_path: Path, whole: Path
) -> None:
    """2 processes, then 1, then 4, of eight devices together; SIGTERM to any of them is enough."""
    run = tmp_path / "run"
    for processes, step in ((2, 7), (1, 19)):
        with start(tmp_path, processes) as pod:
            pod.wait_until(lambda step=step: reached(run) >= step)
            asked = time.monotonic()
            pod.kill(processes - 1, signal.SIGTERM)
            assert pod.wait(60) == [143] * processes
            assert time.monotonic() - asked < 25  # the notice of a spot TPU gives 30 s
        saved = Checkpoints(run / "checkpoints", read_only=True).latest_step()
        assert saved == reached(run) >= step
    finish(tmp_path, 4)
    found, expected = measured(run), measured(whole)
    assert [(line["kind"], line["step"]) for line in found] == [
        (line["kind"], line["step"]) for line in expected
    ]
    for line, other in zip(found, expected, strict=True):
        if line["kind"] == "train":
            assert line["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["evaluate", "train"])
def test_sigterm_ends_what_saves_nothing_at_once(tmp_path: Path, verb: str) -> None:
    """JAX's preemption service would take it, and nobody would answer."""
    with Pod(tmp_path, 2, 1, ["tests.jobs.waits", verb]) as pod:
        pod.wait_until(lambda: all("joined" in pod.log(number) for number in range(2)))
        pod.kill(1, signal.SIGTERM)
        time.sleep(2)
        assert pod.processes[1].poll() == (-signal.SIGTERM if verb == "evaluate" else None)


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_job_within_a_bound(tmp_path: Path) -> None:
    with start(tmp_path) as pod:
        pod.wait_until(lambda: reached(tmp_path / "run") >= 3)
        pod.kill(1, signal.SIGSTOP)
        assert ends_soon(pod, 0) not in (0, 2, 143)
        assert "unhealthy" in pod.log(0)


@pytest.mark.slow
def test_a_process_whose_data_hang_ends_the_job_and_says_where_it_stood(tmp_path: Path) -> None:
    """Its heart beats on, so that JAX would wait for ever."""
    command = ["tests.train.train_tiny", str(tmp_path / "run"), str(STEPS), "0.03", "6"]
    with Pod(tmp_path, 2, 4, command) as pod:
        codes = pod.wait(120)
        assert EXIT_CODE in codes and 0 not in codes
        assert "process 1 of 2 ends: the batch of step 6 has not come within 8 s" in pod.log(1)
        assert "in batches" in pod.log(1)  # the stack of the thread that hangs
    assert reached(tmp_path / "run") >= 3


def test_a_process_that_never_comes_is_named_with_the_port(tmp_path: Path) -> None:
    more = {"ADIFF_PROCESSES": "3"}  # two of the three are started
    command = ["adiff_jax", "train", "x.py", "--join-timeout", "3"]
    with Pod(tmp_path, 2, 1, command, **more) as pod:
        assert pod.wait(60) == [2, 2]
        for number in range(2):
            assert f"process 2 has not come to {pod.coordinator} within 3 s" in pod.log(number)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `whole`, of more steps."""
    return finish(tmp_path_factory.mktemp("long"), steps=MANY_STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("victims", [(1,), (0,), (0, 1)], ids=["worker", "coordinator", "all"])
def test_twenty_kills(tmp_path: Path, long: Path, victims: tuple[int, ...]) -> None:
    """At random steps, before the first checkpoint and in the middle of saving among them."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(20):
        # At least one step more: who is left alone before that waits for --join-timeout.
        target = reached(tmp_path / "run") + draw.randrange(1, 4)
        with start(tmp_path, steps=MANY_STEPS, pause=0.1) as pod:
            pod.wait_until(lambda target=target: reached(tmp_path / "run") >= target)
            time.sleep(draw.random() * 0.2)
            for victim in victims:
                pod.kill(victim)
            if len(victims) == 1:
                assert ends_soon(pod, 1 - victims[0]) not in (0, 2, 143)
    run = finish(tmp_path, steps=MANY_STEPS)
    assert measured(run) == measured(long)
    jax.tree.map(
        np.testing.assert_array_equal, state_of(run, MANY_STEPS), state_of(long, MANY_STEPS)
    )
