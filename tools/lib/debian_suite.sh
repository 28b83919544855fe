# Packages of another Debian suite, without touching the machine's own: apt works on a private
# state below a folder of the caller's, signatures are checked as ever.
# shellcheck shell=bash
# Source it after common.sh.

# debian_archive: the address of the Debian archive (component main) in the machine's apt sources,
# refreshed once when they say nothing.
debian_archive() {
  local found
  found=$(debian_archive_known)
  if [ -z "$found" ]; then
    step "updating the package lists to find the Debian archive" >&2
    apt-get update -q -o DPkg::Lock::Timeout=300 >&2 || die "apt-get update failed; see the lines above"
    found=$(debian_archive_known)
  fi
  [ -n "$found" ] || die "no Debian archive in the apt sources"
  printf '%s\n' "$found"
}

debian_archive_known() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' \
    'Created-By: Packages' 2>/dev/null | sed -n 's/^Debian|Debian|main|//p' | head -n1
}

# download_from_suite WORK ARCHIVE SUITE PACKAGE: the package and all it needs, libc included, into
# WORK/debs; apt's words go to WORK/apt.log. A suite whose list has expired, as on a mirror that is
# behind, is taken with a word about it: it is signed all the same, and stable suites never expire.
download_from_suite() {
  local work=$1 archive=$2 suite=$3 package=$4
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed_by=
  [ ! -e "$keyring" ] || signed_by="[signed-by=$keyring] "
  rm -rf "$work/apt" "$work/debs"
  mkdir -p "$work/apt/lists/partial" "$work/debs/partial"
  : >"$work/apt/status"
  echo "deb $signed_by$archive $suite main" >"$work/apt/sources.list"
  local apt=(apt-get -q -y
    -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State="$work/apt" -o Dir::State::Status="$work/apt/status"
    -o Dir::Cache="$work/apt" -o Dir::Cache::Archives="$work/debs"
    -o APT::Sandbox::User=root -o APT::Keep-Downloaded-Packages=true
    -o APT::Get::AllowUnauthenticated=false -o Acquire::Languages=none -o Acquire::Retries=3)
  if ! "${apt[@]}" update --error-on=any >"$work/apt.log" 2>&1; then
    grep -q '^E: Release file for .* is expired' "$work/apt.log" || return 1
    step "the archive's list of $suite is out of date; its signature is good: taking it"
    apt+=(-o Acquire::Check-Valid-Until=false)
    "${apt[@]}" update --error-on=any >"$work/apt.log" 2>&1 || return 1
  fi
  "${apt[@]}" install --download-only --no-install-recommends "$package" >>"$work/apt.log" 2>&1
}

# download_failure WORK: why, in one line.
download_failure() { grep -m1 -E '^(E|Err):?' "$1/apt.log" || echo 'download failed'; }
