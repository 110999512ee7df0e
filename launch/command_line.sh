# shellcheck shell=bash disable=SC2034 # the scripts read these
# What the command lines of the scripts here share; sourced, not run.
#
# The comment at the head of a script is its --help. `dry_run` is "yes" after --dry-run.

dry_run=no

# The comment at the head of the script, as help.
usage() {
  sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0"
}

# An error of use: one sentence, and the exit status that `adiff` has for them too.
fail() {
  echo "$(basename "$0"): $1" >&2
  exit 2
}

# needs OPTION WHAT "$@": the value after an option is there, or the user is told WHAT it is.
needs() {
  (($# > 3)) || fail "$1 wants $2 after it"
}

# number OPTION VALUE: fails unless the value is a whole number.
number() {
  [[ $2 =~ ^[0-9]+$ ]] || fail "$1 is '$2': give a whole number"
}

# A command as a line that a shell reads back the same.
shown() {
  local line
  printf -v line ' %q' "$@"
  echo "${line# }"
}

# Run a command; only print it after --dry-run.
run() {
  if [[ $dry_run == yes ]]; then
    shown "$@"
  else
    "$@"
  fi
}

# The exit status of a background process, as `status`. A signal that is heeded ends bash's `wait`
# too early: it is repeated.
await() {
  signalled=yes
  while [[ $signalled == yes ]]; do
    signalled=no
    status=0
    wait "$1" || status=$?
  done
}

# Run a command to its end in `status`, heeding signals meanwhile: `heed_signals` comes first.
attend() {
  "$@" &
  attended=$!
  [[ $asked == no ]] || on_signal # it came before there was anyone to tell
  await "$attended"
  attended=
}

# From here on, SIGTERM, SIGINT and SIGHUP set `asked` to yes and call `on_signal`.
heed_signals() {
  asked=no
  trap 'asked=yes; signalled=yes; on_signal' TERM INT HUP
}

# Fill `cell_command` with a command in which {index} is $1 and {cell} is $1/$2.
fill_in() {
  local index=$1 count=$2
  shift 2
  cell_command=("${@//'{index}'/$index}")
  cell_command=("${cell_command[@]//'{cell}'/$index/$count}")
}
