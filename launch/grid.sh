#!/usr/bin/env bash
# Run the cells of a grid beside each other, each on a slice or machine of its own.
#
#   launch/grid.sh N [--dry-run] -- COMMAND...
#
# Runs COMMAND N times at once, with {index} replaced by 0, 1, ... and {cell} by 0/N, 1/N, ...:
#
#   launch/grid.sh 4 -- launch/tpu_vm.sh run cells-{index} --type v5litepod-16 \
#     --runtime v2-alpha-tpuv5-lite --spot -- \
#     adiff ablate configs/ablations/adiff.py --workdir gs://BUCKET/runs/adiff --cell {cell}
#
# Every line of output begins with its index. Cells need nothing of each other: when one fails, the
# others go on; the exit status is that of the first that failed, else 0. SIGTERM, SIGINT and
# SIGHUP reach all as SIGTERM. On SLURM an array job does this: see launch/slurm.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
source "$(dirname "${BASH_SOURCE[0]}")/command_line.sh"

cells=
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    [0-9]*) cells=$1 ;;
    *) fail "unknown option '$1'; the command comes after --" ;;
  esac
  shift
done
[[ -n $cells ]] || fail "how many cells at once? Begin with their number"
number "the number of cells" "$cells"
(($#)) || fail "which command? It comes after --"

# shellcheck disable=SC2329 # heed_signals calls it
on_signal() {
  ((${#running[@]} == 0)) || kill -TERM "${running[@]}" 2>/dev/null || true
}
running=()
heed_signals

for ((index = 0; index < cells; index++)); do
  fill_in "$index" "$cells" "$@"
  if [[ $dry_run == yes ]]; then
    run "${cell_command[@]}"
    continue
  fi
  # The reader lives as long as the cell can write, whatever signals come.
  "${cell_command[@]}" > >(trap '' TERM INT HUP && exec sed -u "s/^/[$index] /") 2>&1 &
  running+=("$!")
done
result=0
for index in "${!running[@]}"; do
  await "${running[index]}"
  if ((status)); then
    echo "grid.sh: cell $index ended with $status" >&2
    ((result)) || result=$status
  fi
done
exit "$result"
