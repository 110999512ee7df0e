"""One process of a job that is examined: `python -m tests.doctor.examined ADDRESS I N RUN WHAT`.

WHAT is "machine", or "training" for a small one too.
"""

import sys

import jax

from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.doctor.examine import Subject, examine
from tests.doctor.small import SMALL

if __name__ == "__main__":
    address, process, processes, run, what = sys.argv[1:]
    jax.distributed.initialize(address, int(processes), int(process), initialization_timeout=60)
    experiment = SMALL if what == "training" else None
    for finding in examine(Subject(experiment, RunDirectory.at(run)), address):
        print(finding, flush=True)
