"""Jobs of several processes: who is who, and what is said of those that do not come."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from adiff_jax.parallel.processes import PORT, place_of
from adiff_jax.parallel.roll import Job, JobError, call_roll

SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "node[07-10]",
    "SLURM_JOB_ID": "12",
}


def test_a_process_alone_is_no_job() -> None:
    assert place_of({}) is None
    assert place_of({"ADIFF_PROCESSES": "1", "ADIFF_COORDINATOR": "a:1"}) is None
    assert place_of({**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None


def test_options_come_before_the_environment() -> None:
    named = {"ADIFF_COORDINATOR": "a:1", "ADIFF_PROCESSES": "2", "ADIFF_PROCESS": "1"}
    assert place_of(named) == Job("a:1", 2, 1)
    assert place_of(named, "b:2", "3", "2") == Job("b:2", 3, 2)
    assert place_of({**SLURM, "ADIFF_PROCESSES": "auto"}) == "auto"
    assert place_of({**SLURM, **named}) == Job("a:1", 2, 1)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (SLURM, Job(f"node07:{PORT + 12}", 4, 2)),
        ({**SLURM, "SLURM_STEP_NODELIST": "gpu-a,gpu-b"}, Job(f"gpu-a:{PORT + 12}", 4, 2)),
        ({**SLURM, "SLURM_STEP_NODELIST": "n[3,5-7],m1"}, Job(f"n3:{PORT + 12}", 4, 2)),
        (
            {
                "OMPI_COMM_WORLD_SIZE": "8",
                "OMPI_COMM_WORLD_RANK": "5",
                "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.7,10.1.0.7:444",
            },
            Job(f"10.0.0.7:{PORT}", 8, 5),
        ),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "3"}, Job(f"a:{PORT}", 4, 3)),
        (
            {
                "TPU_WORKER_HOSTNAMES": "a,b",
                "TPU_WORKER_ID": "1",
                "MEGASCALE_NUM_SLICES": "2",
                "MEGASCALE_SLICE_ID": "1",
                "MEGASCALE_COORDINATOR_ADDRESS": "z:8080",
            },
            Job(f"z:{PORT}", 4, 3),
        ),
    ],
)
def test_launchers_are_known_by_their_environment(
    environment: dict[str, str], expected: Job
) -> None:
    assert place_of(environment) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"ADIFF_PROCESSES": "2"},), "--coordinator .or ADIFF_COORDINATOR. and --process "),
        (({}, "", "2", "0"), "named in part .processes 2, process 0.: give --coordinator"),
        (({}, "a:1", "two", "0"), "processes is 'two': it must be a whole number"),
        (({}, "a:1", "2", "2"), "process is 2: with 2 processes, give each .* from 0 to 1"),
        (({}, "a:1", "0", "0"), "processes is 0"),
        (
            ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},),
            "Open MPI does not say where rank 0 is",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(JobError, match=message):
        place_of(*arguments)


@pytest.mark.parametrize("coordinator", ["", "host", "host:", ":1", "host:x", "host:70000"])
def test_a_coordinator_is_a_host_and_a_port(coordinator: str) -> None:
    with pytest.raises(JobError, match="give host:port of process 0"):
        _ = Job(coordinator, 2, 0).address
    assert Job("[::1]:80", 2, 0).address == ("::1", 80)


@pytest.fixture
def coordinator() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def outcomes(jobs: list[Job], timeout: float, between: Callable[[], Any] = lambda: None) -> list:
    """What the roll says to each of these processes, None where all have come."""
    said: list[Any] = ["nothing"] * len(jobs)

    def take_part(place: int) -> None:
        try:
            said[place] = call_roll(jobs[place], timeout)
        except JobError as error:
            said[place] = str(error)

    threads = [threading.Thread(target=take_part, args=(place,)) for place in range(len(jobs))]
    for thread in threads[1:]:
        thread.start()
    between()
    threads[0].start()
    for thread in threads:
        thread.join(timeout + 20)
        assert not thread.is_alive()
    return said


def test_all_go_on_when_all_have_come_in_whatever_order(coordinator: str) -> None:
    jobs = [Job(coordinator, 4, number) for number in (2, 3, 0, 1)]
    assert outcomes(jobs, 20.0) == [None] * 4


def test_the_port_is_free_again_for_jax(coordinator: str) -> None:
    assert outcomes([Job(coordinator, 2, number) for number in (0, 1)], 20.0) == [None] * 2
    host, port = Job(coordinator, 2, 0).address
    socket.create_server((host, port)).close()


def test_who_is_missing_is_said_in_every_process(coordinator: str) -> None:
    jobs = [Job(coordinator, 5, number) for number in (0, 2, 4)]
    message = f"processes 1, 3 have not come to {coordinator} within 1.5 s (3 of 5 are there)"
    assert all(said.startswith(message) for said in outcomes(jobs, 1.5))


def test_without_process_0_its_address_is_said(coordinator: str) -> None:
    (said,) = outcomes([Job(coordinator, 2, 1)], 0.7)
    assert said.startswith(f"process 1 found no process 0 at {coordinator} within 0.7 s")


def test_two_of_one_number_are_told_so(coordinator: str) -> None:
    said = outcomes([Job(coordinator, 3, number) for number in (0, 1, 1)], 5.0)
    assert set(said) == {"two processes say that they are number 1: give each its own --process"}


def test_jobs_of_two_sizes_are_told_so(coordinator: str) -> None:
    said = outcomes([Job(coordinator, 2, 0), Job(coordinator, 3, 1)], 5.0)
    assert set(said) == {
        "process 1 believes in 3 processes, process 0 in 2: run the same command everywhere"
    }


def test_a_port_in_use_is_named(coordinator: str) -> None:
    host, port = Job(coordinator, 2, 0).address
    with socket.create_server((host, port)):
        (said,) = outcomes([Job(coordinator, 2, 0)], 1.0)
    assert said.startswith(f"process 0 cannot listen on port {port} of {host}")


def test_whoever_else_calls_is_not_counted(coordinator: str) -> None:
    """A scanner of ports, or somebody's browser."""

    def call() -> None:
        for text in (b"", b"GET / HTTP/1.1\r\n\r\n", b'{"process": "x"}\n', b"\xff\n"):
            for _ in range(50):
                try:
                    with socket.create_connection(Job(coordinator, 2, 0).address, 0.2) as door:
                        door.sendall(text)
                    break
                except OSError:
                    threading.Event().wait(0.05)

    stranger = threading.Thread(target=call)
    said = outcomes([Job(coordinator, 2, 0), Job(coordinator, 2, 1)], 20.0, stranger.start)
    stranger.join()
    assert said == [None, None]
