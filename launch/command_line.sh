# shellcheck shell=bash
# What the command lines of the scripts here share; sourced, not run.
#
# The comment at the head of a script is its --help. `dry_run` is "yes" after --dry-run.

dry_run=no

# The comment at the head of the script, as help.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
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
