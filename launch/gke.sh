#!/usr/bin/env bash
# Run a command on TPU slices of a GKE cluster, through XPK.
#
#   launch/gke.sh NAME --cluster CLUSTER --image IMAGE --type TYPE [OPTION ...] -- COMMAND...
#
#   --cluster CLUSTER  made by `xpk cluster create`
#   --image IMAGE      of launch/Dockerfile's target tpu, in a registry that the cluster reads
#   --type TYPE        of the slices, such as v5litepod-16
#   --slices S         that train together (default 1)
#   --restarts N       of all slices, at most (default 20)
#   --dry-run          print the command, do not run it
#
# Project and zone are gcloud's own, as for launch/tpu_vm.sh. Run directories, tables and caches
# belong on gs://, since pods share no disk and lose theirs with every restart:
#
#   launch/gke.sh adc --cluster pods --image REGION-docker.pkg.dev/PROJECT/images/adiff:tpu \
#     --type v5litepod-16 -- adiff train configs/adc_sdd.py --workdir gs://BUCKET/runs/adc_sdd
#
# What goes on: `xpk workload list --cluster CLUSTER`. To stop, saving:
# `xpk workload delete --workload NAME --cluster CLUSTER`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
source "$(dirname "${BASH_SOURCE[0]}")/command_line.sh"

# SIGTERM to SIGKILL, where the cluster is not in a hurry itself.
GRACE_SECONDS=300

name=
cluster=
image=
type=
slices=1
restarts=20
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --cluster) needs "$1" "a name" "$@" && cluster=$2 && shift ;;
    --image) needs "$1" "a name" "$@" && image=$2 && shift ;;
    --type) needs "$1" "a TPU type" "$@" && type=$2 && shift ;;
    --slices) needs "$1" "a number" "$@" && slices=$2 && shift ;;
    --restarts) needs "$1" "a number" "$@" && restarts=$2 && shift ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    -*) fail "unknown option '$1'; the command comes after --" ;;
    *) name=$1 ;;
  esac
  shift
done
[[ -n $name ]] || fail "how is the workload to be called? Begin with its name"
[[ -n $cluster && -n $image && -n $type ]] || fail "where? Give --cluster, --image and --type"
number --slices "$slices"
number --restarts "$restarts"
(($#)) || fail "which command? It comes after --"

# XPK restarts on exit statuses 42 and 127 to 255 by itself, and on those named here: all that
# launch/restart.sh restarts, thus not 2, an error of use. `exec`, so that SIGTERM reaches the
# command and not a shell around it.
run xpk workload create --workload="$name" --cluster="$cluster" --docker-image="$image" \
  --tpu-type="$type" --num-slices="$slices" \
  --max-restarts="$restarts" --restart-on-exit-codes=1,3-125 \
  --termination-grace-period-seconds="$GRACE_SECONDS" \
  --command="exec $(shown "$@")"
