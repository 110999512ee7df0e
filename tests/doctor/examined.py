"""One process of a job that is examined: `python -m tests.doctor.examined ADDRESS I N RUN`."""

import sys

import jax

from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.doctor.examine import Subject, examine
from tests.doctor.small import SMALL

if __name__ == "__main__":
    address, process, processes, run = sys.argv[1:]
    jax.distributed.initialize(address, int(processes), int(process), initialization_timeout=60)
    for finding in examine(Subject(SMALL, RunDirectory.at(run)), address):
        print(finding, flush=True)
