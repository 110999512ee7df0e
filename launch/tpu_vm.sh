#!/usr/bin/env bash
# Run a command on all workers of a TPU VM slice, again and again until it is done.
#
#   launch/tpu_vm.sh run NAME --type TYPE --runtime VERSION [OPTION ...] -- COMMAND...
#   launch/tpu_vm.sh down NAME [--dry-run]
#
# `run` asks for the slice as a queued resource unless it is there, waits for it, installs the
# commit that is checked out here, and runs COMMAND on every worker at once, in the root of the
# repository. When the command fails, or the slice is taken away, it does so again. `down` gives
# the slice back: slices cost money until then.
#
#   --type TYPE        such as v5litepod-16, v4-32, v6e-64
#   --runtime VERSION  of the machines' software, such as v2-alpha-tpuv5-lite, tpu-ubuntu2204-base
#   --spot             a slice that is cheaper, and may be taken away
#   --restarts N, --pause SECONDS    see launch/restart.sh --help
#   --dry-run          print the commands of one attempt, do not run them
#
# Project and zone are gcloud's own: `gcloud config set project P`, `gcloud config set compute/zone
# Z`, or CLOUDSDK_CORE_PROJECT and CLOUDSDK_COMPUTE_ZONE. Run directories, tables and caches belong
# on gs://, since workers share no disk and lose theirs with the slice:
#
#   launch/tpu_vm.sh run adc --type v5litepod-16 --runtime v2-alpha-tpuv5-lite --spot -- \
#     adiff train configs/adc_sdd.py --workdir gs://BUCKET/runs/adc_sdd
#
# This machine must stay on: a small VM, or `tmux`. Ctrl-C or SIGTERM here has the workers save and
# leave; the slice stays.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
source "$(dirname "${BASH_SOURCE[0]}")/command_line.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# SIGTERM to SIGKILL, when workers are asked to stop.
GRACE_SECONDS=300
# On a worker: end its job, if there is one, and wait until it has saved.
STOP="sudo systemctl stop adiff 2>/dev/null"
# Between two looks at whether the slice has come.
LOOK_SECONDS=30
# An exit status that launch/restart.sh restarts: the slice is gone, and is asked for again.
TAKEN_AWAY=75

action=
name=
type=
runtime=
capacity=()
restarts=()
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --type) needs "$1" "an accelerator type" "$@" && type=$2 && shift ;;
    --runtime) needs "$1" "a version" "$@" && runtime=$2 && shift ;;
    --spot) capacity=(--spot) ;;
    --restarts | --pause) needs "$1" "a number" "$@" && restarts+=("$1" "$2") && shift ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    -*) fail "unknown option '$1'; the command comes after --" ;;
    *) if [[ -z $action ]]; then action=$1; else name=$1; fi ;;
  esac
  shift
done
[[ -n $name ]] || fail "what to do with which slice? Begin with: run NAME, or down NAME"

slices() {
  run gcloud compute tpus queued-resources "$@"
}

on_workers() {
  run gcloud compute tpus tpu-vm ssh "$name" --worker=all --command="$1"
}

# ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED, ...; ABSENT when there is none.
state() {
  if [[ $dry_run == yes ]]; then
    echo ABSENT
  else
    gcloud compute tpus queued-resources describe "$name" --format="value(state.state)" \
      2>/dev/null || echo ABSENT
  fi
}

down() {
  slices delete "$name" --force --quiet
}

# Return when the slice is there.
up() {
  local now
  now=$(state)
  if [[ $now == SUSPENDED || $now == FAILED ]]; then
    echo "tpu_vm.sh: $name is $now; asking for it anew" >&2
    down
    now=ABSENT
  fi
  if [[ $now == ABSENT ]]; then
    slices create "$name" --node-id="$name" --accelerator-type="$type" \
      --runtime-version="$runtime" "${capacity[@]}"
  fi
  while [[ $dry_run == no && $now != ACTIVE ]]; do
    now=$(state)
    case $now in
      ACTIVE) ;;
      SUSPENDED | FAILED) return "$TAKEN_AWAY" ;;
      *) echo "tpu_vm.sh: $name is $now" >&2 && sleep "$LOOK_SECONDS" ;;
    esac
  done
}

# The commit that is checked out, in ~/adiff_jax of every worker with an environment of its own.
install() {
  local commit archive
  commit=$(git -C "$here" rev-parse --short HEAD)
  archive="${TMPDIR:-/tmp}/adiff_jax-$commit.tar.gz"
  run git -C "$here/.." archive --format=tar.gz --output="$archive" HEAD
  run gcloud compute tpus tpu-vm scp "$archive" "$name:adiff_jax.tar.gz" --worker=all
  # The machines' Python is older than ours; uv brings one.
  on_workers "set -e; [ ! -e adiff_jax/.installed-$commit ] || exit 0
$STOP || true; rm -rf adiff_jax; mkdir adiff_jax; tar -xzf adiff_jax.tar.gz -C adiff_jax; cd adiff_jax
python3 -m pip install --user --quiet uv; uv=\$HOME/.local/bin/uv
\$uv venv --quiet --python 3.11
\$uv pip install --quiet --constraint constraints.txt --editable '.[tpu,gcs]'
touch .installed-$commit"
}

stop_job() {
  on_workers "$STOP"
}

# One job a worker, as a unit of systemd: what a lost connection has left behind is stopped before
# the next start, and a machine that shuts down asks the job to save. SIGTERM goes to the main
# process alone, since readers of data must not end before it.
job() {
  local unit=(sudo systemd-run --unit=adiff --wait --pipe --collect --quiet
    --property=KillMode=mixed --property="TimeoutStopSec=$GRACE_SECONDS"
    --property=LimitMEMLOCK=infinity --property=LimitNOFILE=1048576
    --setenv=ADIFF_PROCESSES=auto)
  # shellcheck disable=SC2016 # these are expanded on the worker
  local place='--uid="$USER" --working-directory="$PWD" --setenv=HOME="$HOME"'
  # shellcheck disable=SC2016
  place+=' --setenv=PATH="$PWD/.venv/bin:$PATH"'
  # `env` finds the command by that PATH, systemd-run would by its own.
  echo "$STOP || true
cd adiff_jax && $(shown "${unit[@]}") $place env $(shown "$@")"
}

attempt() {
  up
  install
  if [[ $dry_run == yes ]]; then
    on_workers "$(job "$@")"
    return
  fi
  on_signal() {
    stop_job
  }
  heed_signals
  attend on_workers "$(job "$@")"
  if [[ $asked == yes ]]; then
    return 143
  elif ((status == 143)) || [[ $(state) != ACTIVE ]]; then
    return "$TAKEN_AWAY" # nobody here has asked the workers to stop
  fi
  return "$status"
}

case $action in
  down) down ;;
  run | attempt)
    [[ -n $type && -n $runtime ]] || fail "which slice? Give --type and --runtime"
    (($#)) || fail "which command? It comes after --"
    if [[ $action == attempt || $dry_run == yes ]]; then
      attempt "$@"
    else
      exec "$here/restart.sh" "${restarts[@]}" -- "${BASH_SOURCE[0]}" attempt "$name" \
        --type "$type" --runtime "$runtime" "${capacity[@]}" -- "$@"
    fi
    ;;
  *) fail "unknown action '$action': run or down" ;;
esac
