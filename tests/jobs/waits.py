"""A process of a job that joins as a verb does, and then does nothing: `tests.jobs.waits VERB`."""

import argparse
import sys
import time

from adiff_jax import verbs_job

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    verbs_job.add_arguments(parser)
    parser.set_defaults(verb=sys.argv[1])
    verbs_job.join(parser.parse_args([]))
    print("joined", file=sys.stderr, flush=True)
    time.sleep(120)
