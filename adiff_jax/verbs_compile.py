"""The verb `compile`: an experiment on a TPU slice that is not there."""

import argparse
import json
import sys
from functools import partial
from typing import Any

USAGE = """usage: adiff compile CONFIG --topology NAME [NAME ...] [--slices N] [--FIELD VALUE ...]
       adiff compile CONFIG --rules [--topology NAME] [--FIELD VALUE ...]

Compile the train step and the decode step of CONFIG for a TPU slice, on any machine, and say what
they need: memory by kind, operations, collectives, the least time of a step, and what to change
when they do not fit. Nothing is run, and no data are read. Needs libtpu: the extra [aot].

  --topology NAME   v5e:4x4, v4:2x2x4, v6e:16x16, ...: chip and shape; several are compiled in turn
  --slices N        so many of them, joined by the network of the data centre (default 1)
  --rows N          batches of N examples a device, in place of train.global_batch and
                    evaluation.batch
  --only PROGRAM    train or decode (default both)
  --quick           compile with less optimisation, in a fraction of the time; docs/tpu.md says
                    how far its figures are off
  --rules           only list where every parameter goes, and its moments; compiles nothing.
                    Without --topology for 8 devices along fsdp
  --json            one JSON object a slice
  --table           rows of a Markdown table, as in docs/tpu.md

A compilation takes minutes. Fields are those of adiff train:
  adiff compile configs/adiff_stage3.py --topology v5e:4x4
  adiff compile configs/adc_sdd.py --topology v5e:2x4 v4:4x4x4 --rows 8 --quick --table
  adiff compile configs/adiff_stage3.py --topology v5e:16x16 --train.global_batch 2048 --mesh.fsdp 4
  adiff compile configs/cl4ac.py --rules --topology v5e:2x4 --mesh.fsdp 8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb; what is left are fields of the experiment."""
    parser.add_argument("config", nargs="?")
    parser.add_argument("--topology", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--rows", type=int, metavar="N")
    parser.add_argument("--only", choices=("train", "decode"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rules", action="store_true")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true")
    shape.add_argument("--table", action="store_true")
    parser.add_argument("-h", "--help", action="store_true", dest="show_help")


def compile(options: argparse.Namespace, rest: list[str]) -> None:
    """Print the plan of a config on each slice; exits with 1 where it does not fit."""
    if options.config is None or options.show_help:
        print(USAGE)
        sys.exit(0 if options.show_help else 2)
    if not options.topology and not options.rules:
        raise ValueError("which slice? Give --topology, such as v5e:4x4, or --rules")
    of_programs = (options.json, options.table, options.quick, options.rows, options.only)
    if options.rules and any(of_programs):
        raise ValueError("--rules compiles nothing: leave out what is said of programs beside it")
    if options.rows is not None and options.rows < 1:
        raise ValueError(f"--rows is {options.rows}: say at least 1 example a device")
    from adiff_jax.aot import report
    from adiff_jax.aot.placements import placements, without_devices
    from adiff_jax.aot.plan import Plan, plan
    from adiff_jax.aot.programs import with_rows
    from adiff_jax.aot.topology import describe
    from adiff_jax.parallel.mesh import make_mesh
    from adiff_jax.verbs import experiment_with

    experiment = experiment_with("compile", options.config, rest)
    slices = [describe(name, options.slices) for name in options.topology]
    if options.rules:
        meshes: list[Any] = [make_mesh(experiment.mesh, slice.devices) for slice in slices]
        for mesh in meshes or [without_devices(experiment.mesh)]:
            shape = " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
            print(report.rules_report(placements(experiment, mesh), shape))
        return

    def each(found: Plan) -> None:
        """Print a program as soon as it is there."""
        program = found.programs[-1]
        if options.table:
            print(report.row(found, program), flush=True)
        elif not options.json:
            if len(found.programs) == 1:
                print(report.heading(found), end="\n\n")
            print(report.section(found, program), end="\n\n", flush=True)

    say = partial(print, file=sys.stderr, flush=True)
    if options.table:
        print(report.HEAD)
    plans = []
    for slice in slices:
        devices = len(slice.devices)
        sized = (
            experiment if options.rows is None else with_rows(experiment, options.rows * devices)
        )
        plans.append(plan(sized, slice, say, each, options.quick, options.only))
        if options.json:
            print(json.dumps(report.as_json(plans[-1])), flush=True)
    if not all(found.fits for found in plans):
        sys.exit(1)
