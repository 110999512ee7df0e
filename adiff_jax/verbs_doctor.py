"""The verb `doctor`: is everything there for a training."""

import argparse
import sys

from adiff_jax import verbs_job

EXAMPLES = """\
Each line says ok, warn or fail, and what is not ok also the way out. Exits with 1 if any fails.

Examples:
  adiff doctor                              this machine, or this job
  adiff doctor configs/adc_esc10.py         also its data, its directory, and whether the data
                                            come as fast as the train step reads them
  adiff doctor runs/adc_esc10               the same of a run that is there

A job is examined by the same command in each of its processes: process 0 prints what all have
found, and names the processes that found something else than the others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("subject", nargs="?", help="a config file or a run directory")
    parser.add_argument("--workdir", help="where the run will write (default runs/NAME)")


def doctor(options: argparse.Namespace, rest: list[str]) -> None:
    """Make every check, and print each as it is made."""
    from adiff_jax.doctor.examine import examine, subject_of
    from adiff_jax.doctor.finding import Verdict
    from adiff_jax.parallel.roll import Job

    place = verbs_job.place_of(options)
    coordinator = place.coordinator if isinstance(place, Job) else ""
    failed = 0
    for finding in examine(subject_of(options.subject, options.workdir), coordinator):
        failed += finding.verdict is Verdict.FAIL
        print(finding, flush=True)
    sys.exit(1 if failed else 0)
