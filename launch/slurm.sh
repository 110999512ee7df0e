#!/usr/bin/env bash
#SBATCH --job-name=adiff
#SBATCH --output=slurm-%x-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --signal=TERM@120
# Run a command on nodes of a SLURM cluster, one process a node, on their GPUs or their CPUs.
#
#   sbatch [OPTION ...] launch/slurm.sh [--dry-run] -- COMMAND...
#
# Submit from the root of the repository, with its environment active. What is asked for are
# options of sbatch; on CPUs leave out those of GPUs:
#
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=16 --time=4:00:00 launch/slurm.sh -- \
#     adiff train configs/adc_sdd.py --workdir /SHARED/runs/adc_sdd
#
# A grid as an array job, one share of its cells in each: {cell} becomes INDEX/COUNT of the array,
# which counts from 0.
#
#   sbatch --array=0-11 --gpus-per-node=1 --time=4:00:00 launch/slurm.sh -- \
#     adiff ablate configs/ablations/adiff.py --workdir /SHARED/runs/adiff --cell {cell}
#
# What fails is restarted on the same nodes (launch/restart.sh). Two minutes before the time limit,
# and on preemption, all processes get SIGTERM: they save, and the job is put back in the queue,
# where it goes on from that step. So a run may be longer than the limit of the queue.
set -euo pipefail
# sbatch runs a copy of this file: the others lie where the job was submitted.
launch=${SLURM_SUBMIT_DIR:+$SLURM_SUBMIT_DIR/launch}
launch=${launch:-$(dirname "${BASH_SOURCE[0]}")}
if [[ ! -e $launch/restart.sh ]]; then
  echo "slurm.sh: $launch has no restart.sh: submit from the root of the repository" >&2
  exit 2
fi
# shellcheck source-path=SCRIPTDIR source=command_line.sh
source "$launch/command_line.sh"

while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    *) fail "unknown option '$1'; the command comes after --" ;;
  esac
  shift
done
(($#)) || fail "which command? It comes after --"

command=("$@")
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  # shellcheck disable=SC2153 # SLURM sets them all
  if ((SLURM_ARRAY_TASK_MIN != 0 || SLURM_ARRAY_TASK_MAX + 1 != SLURM_ARRAY_TASK_COUNT)); then
    fail "the array must count from 0 by ones, --array=0-11: finished cells are skipped"
  fi
  fill_in "$SLURM_ARRAY_TASK_ID" "$SLURM_ARRAY_TASK_COUNT" "$@"
  command=("${cell_command[@]}")
elif [[ " $* " == *"{cell}"* ]]; then
  fail "{cell} stands for the index of an array job: submit with --array=0-11"
fi

# srun does not take this from sbatch by itself.
[[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

# Processes that save must not be killed because another has left: JAX ends those of a job that has
# lost one.
status=0
run "$launch/restart.sh" -- srun --kill-on-bad-exit=0 "${command[@]}" || status=$?

# 143: asked to stop, and saved. By a user's scancel, or so that the job makes room?
if ((status == 143)); then
  state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
  if [[ $state == RUNNING ]]; then
    echo "slurm.sh: saved; back into the queue" >&2
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$status"
