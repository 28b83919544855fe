# Shared by the scripts in tools/: steps with elapsed time, one-line errors, root check.
# shellcheck shell=bash
# Source it after `set -euo pipefail`; it sets `project_root` and changes nothing else.

# shellcheck disable=SC2034  # read by the scripts that source this file
project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# step MESSAGE: what begins now, with the time since the script began.
step() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

# die MESSAGE: one line that says what is wrong and what to do; exit 1.
die() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# usage_error MESSAGE: wrong arguments; exit 2.
usage_error() {
  printf '%s: %s (try --help)\n' "${0##*/}" "$*" >&2
  exit 2
}

# print_help: the comment block at the top of the calling script.
print_help() { sed -n '2,/^[^#]/{/^#/!q;s/^# \{0,1\}//p}' "$0"; }

# need_root ARGS…: ends with the command to type when the caller is not root.
need_root() {
  [ "$(id -u)" -eq 0 ] || die "must run as root; type: sudo $0${*:+ $*}"
}
