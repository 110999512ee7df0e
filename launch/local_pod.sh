#!/usr/bin/env bash
# A pod on one machine: N processes on loopback that share nothing but what they are given.
#
#   launch/local_pod.sh N [OPTION ...] -- COMMAND...
#
#   --devices-per-process D  CPU devices of each process (default 1)
#   --shared DIR             the one directory that all processes see, as `shared` in their own
#   --root DIR               where the private directories are made, and stay (default: a
#                            temporary one, removed at the end)
#   --patience SECONDS       how long the others may take to end by themselves once a process has
#                            failed, before they are ended (default 30)
#   --dry-run                print the N commands, do not run them
#
# Each process has a working directory, HOME, TMPDIR and cache of its own, and its place in
# ADIFF_COORDINATOR, ADIFF_PROCESSES and ADIFF_PROCESS. Files of yours are named by whole paths:
#
#   launch/local_pod.sh 4 --devices-per-process 2 --shared runs -- \
#     adiff train "$PWD/configs/adc_esc10.py" --workdir shared/adc_esc10
#
# Every line of output begins with the number of its process. SIGTERM, SIGINT and SIGHUP reach all
# processes as SIGTERM. The exit status is that of the process that failed first, else 0.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
source "$(dirname "${BASH_SOURCE[0]}")/command_line.sh"

# Ended processes get this long between SIGTERM and SIGKILL.
GRACE=10

processes=
devices=1
shared=
root=
patience=30
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --devices-per-process) needs "$1" "a number" "$@" && devices=$2 && shift ;;
    --shared) needs "$1" "a directory" "$@" && shared=$2 && shift ;;
    --root) needs "$1" "a directory" "$@" && root=$2 && shift ;;
    --patience) needs "$1" "seconds" "$@" && patience=$2 && shift ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    [0-9]*) processes=$1 ;;
    *) fail "unknown option '$1'; the command comes after --" ;;
  esac
  shift
done
[[ -n $processes ]] || fail "how many processes? Begin with their number"
number "the number of processes" "$processes"
number --devices-per-process "$devices"
number --patience "$patience"
((processes > 0 && devices > 0)) || fail "a pod has at least 1 process of 1 device"
(($#)) || fail "which command? It comes after --"

# A port that nothing listens on, below those that the kernel gives to outgoing connections.
free_port() {
  local port
  while true; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# The environment of process number $1: a private place, and its place in the job.
environment_of() {
  local place=$root/$1
  echo "HOME=$place/home"
  echo "TMPDIR=$place/tmp"
  echo "XDG_CACHE_HOME=$place/cache"
  echo "ADIFF_COORDINATOR=127.0.0.1:$port"
  echo "ADIFF_PROCESSES=$processes"
  echo "ADIFF_PROCESS=$1"
  echo "JAX_PLATFORMS=cpu"
  echo "XLA_FLAGS=$flags"
}

flags=
for flag in ${XLA_FLAGS:-}; do
  [[ $flag == --xla_force_host_platform_device_count=* ]] || flags+="$flag "
done
flags+="--xla_force_host_platform_device_count=$devices"
port=$(free_port)

if [[ $dry_run == yes ]]; then
  root=${root:-ROOT}
  for ((process = 0; process < processes; process++)); do
    mapfile -t environment < <(environment_of "$process")
    echo "(cd $(shown "$root/$process/work") && $(shown env "${environment[@]}" "$@"))"
  done
  exit
fi

if [[ -n $root ]]; then
  mkdir -p "$root"
else
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
fi
root=$(cd "$root" && pwd)
if [[ -n $shared ]]; then
  mkdir -p "$shared"
  shared=$(cd "$shared" && pwd)
fi

declare -A number_of # process id -> number, of those that run
readers=()           # what puts the numbers before the lines
asked=no             # to stop

# To the processes alone: their children must not end before them.
pass_on() {
  ((${#number_of[@]} == 0)) || kill -TERM "${!number_of[@]}" 2>/dev/null || true
}
trap 'asked=yes; pass_on' TERM INT HUP

set -m # each process leads a group, so that its children can be ended too
for ((process = 0; process < processes; process++)); do
  place=$root/$process
  mkdir -p "$place"/{work,home,tmp,cache}
  [[ -z $shared ]] || ln -sfn "$shared" "$place/work/shared"
  mapfile -t environment < <(environment_of "$process")
  # The reader lives as long as the process can write, whatever signals come.
  exec {output}> >(trap '' TERM INT HUP && exec sed -u "s/^/[$process] /")
  readers+=("$!")
  (cd "$place/work" && exec env "${environment[@]}" "$@") </dev/null >&"$output" 2>&1 &
  number_of[$!]=$process
  exec {output}>&-
done
set +m
leaders=("${!number_of[@]}")
[[ $asked == no ]] || pass_on # the signal came before the last process

say() {
  echo "local_pod.sh: $1" >&2
}

result=0
timer= # after the first failure: the end of the patience, then of the grace
while ((${#number_of[@]})); do
  ended=
  status=0
  wait -n -p ended "${!number_of[@]}" ${timer:+"$timer"} 2>/dev/null || status=$?
  if [[ -z ${ended:-} ]]; then
    continue # a signal arrived
  elif [[ $ended == "$timer" && $next == ask ]]; then
    say "ending the others: ${number_of[*]}"
    pass_on
    sleep "$GRACE" &
    timer=$! next=kill
  elif [[ $ended == "$timer" ]]; then
    say "killing what did not end: ${number_of[*]}"
    kill -KILL "${!number_of[@]}" 2>/dev/null || true
    timer=
  else
    ((status == 0)) || say "process ${number_of[$ended]} ended with $status"
    unset "number_of[$ended]"
    if ((status && !result)); then
      result=$status
      if [[ $asked == no ]]; then
        sleep "$patience" &
        timer=$! next=ask
      fi
    fi
  fi
done

if [[ -n $timer ]]; then
  kill "$timer" && wait "$timer" || true
fi 2>/dev/null
for leader in "${leaders[@]}"; do
  kill -KILL -- "-$leader" 2>/dev/null || true # children that outlived it
done
wait "${readers[@]}" 2>/dev/null || true
exit "$result"
