#!/usr/bin/env bash
# Run a command again when it fails: `adiff train` goes on from its last committed step by itself.
#
#   launch/restart.sh [--restarts N] [--pause SECONDS] [--dry-run] -- COMMAND...
#
#   --restarts N     how often to start again at most (default 20)
#   --pause SECONDS  between an end and the next start (default 30)
#   --dry-run        print the command, do not run it
#
# Exit statuses that a restart does not mend end the loop and are its own:
#
#   0         finished
#   2         an error of use: a wrong option, another experiment in the run directory
#   126, 127  the command cannot be run, or is not there
#   130       Ctrl-C
#   143       was asked to stop by SIGTERM, and saved; whoever asked starts it again
#
# All others are restarted: crashes, a dead or hung process of the job, a lost connection.
# SIGTERM, SIGINT and SIGHUP to this script reach the command as SIGTERM; it is then not restarted.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
source "$(dirname "${BASH_SOURCE[0]}")/command_line.sh"

restarts=20
pause=30
while (($#)); do
  case $1 in
    -h | --help) usage && exit ;;
    --restarts) needs "$1" "a number" "$@" && restarts=$2 && shift ;;
    --pause) needs "$1" "seconds" "$@" && pause=$2 && shift ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    *) fail "unknown option '$1'; the command comes after --" ;;
  esac
  shift
done
number --restarts "$restarts"
number --pause "$pause"
(($#)) || fail "which command? It comes after --"

if [[ $dry_run == yes ]]; then
  run "$@"
  exit
fi

on_signal() {
  [[ -z ${attended:-} ]] || kill -TERM "$attended" 2>/dev/null || true
}
heed_signals

for ((attempt = 0; ; attempt++)); do
  attend "$@"
  case $status in
    0 | 2 | 126 | 127 | 130 | 143) exit "$status" ;;
  esac
  [[ $asked == no ]] || exit "$status"
  if ((attempt >= restarts)); then
    echo "restart.sh: ended with $status, and has been restarted $restarts times; giving up" >&2
    exit "$status"
  fi
  echo "restart.sh: ended with $status; restart $((attempt + 1)) of $restarts in $pause s" >&2
  attend sleep "$pause"
  [[ $asked == no ]] || exit 143
done
