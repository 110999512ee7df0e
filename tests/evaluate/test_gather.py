"""Rows meet over the network: a real JAX program of two processes, with no shared file."""

import json
import socket
import subprocess
import sys

import pytest

from adiff_jax.evaluate.gather import gather_each, gather_objects

PROGRAM = """
import json, sys
import jax
jax.distributed.initialize(
    f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]),
    initialization_timeout=60, heartbeat_timeout_seconds=10,
)
from adiff_jax.evaluate.gather import gather_objects
rows = [{"text": "first — é", "logprob": 0.1 + 0.2}, {"text": ""}] if sys.argv[2] == "0" else []
print(json.dumps([gather_objects(rows), gather_objects([{"from": int(sys.argv[2])}])]))
"""


def test_two_processes_both_get_all_rows_in_process_order():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port), str(process)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    first = [{"text": "first — é", "logprob": 0.1 + 0.2}, {"text": ""}]
    for process, (answer, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
        assert json.loads(answer.splitlines()[-1]) == [first, [{"from": 0}, {"from": 1}]]


def test_one_process_keeps_its_rows():
    assert gather_objects([{"a": 1}]) == [{"a": 1}]


def test_each_example_comes_back_once_and_in_order():
    assert gather_each([{"id": 1}, {"id": 0}], 2) == [{"id": 0}, {"id": 1}]


@pytest.mark.parametrize("ids", [[0], [0, 1, 1], [0, 2], []])
def test_an_example_that_is_missing_or_there_twice_is_an_error(ids: list[int]):
    with pytest.raises(ValueError, match=f"{len(ids)} examples came back, not each of 2 once"):
        gather_each([{"id": index} for index in ids], 2)
