# Shared by ./dev and the scripts beside this file. Source it; it defines functions and paths only.

repo_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cache_root="${XDG_CACHE_HOME:-$HOME/.cache}/bursar"
# shellcheck source=../versions.env
source "$repo_root/regtest/versions.env"

started_at=$SECONDS

# Elapsed time since the script began, as m:ss.
elapsed() {
  local s=$((SECONDS - started_at))
  printf '%d:%02d' $((s / 60)) $((s % 60))
}

step() { printf '\n[%s] %s\n' "$(elapsed)" "$*"; }
note() { printf '[%s]   %s\n' "$(elapsed)" "$*"; }

# fail WHAT REMEDY: says what is wrong and what to do about it.
fail() {
  printf '\n[%s] failed: %s\n' "$(elapsed)" "$1" >&2
  if [ $# -gt 1 ]; then printf '        remedy: %s\n' "$2" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE...: installs those Debian packages that are absent; without root, says the command instead.
apt_install() {
  local missing=() package
  for package in "$@"; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then missing+=("$package"); fi
  done
  if [ ${#missing[@]} -eq 0 ]; then return 0; fi
  have apt-get || fail "these packages are needed: ${missing[*]}" "install them with this system's package manager"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if have sudo && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      fail "Debian packages are missing: ${missing[*]}" "sudo apt-get update && sudo apt-get install -y ${missing[*]}"
    fi
  fi
  note "apt-get install ${missing[*]}"
  local log
  log="$(mktemp)"
  if ! { "${as_root[@]}" apt-get update -q && DEBIAN_FRONTEND=noninteractive "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install ${missing[*]}" "apt-get update && apt-get install -y ${missing[*]}"
  fi
  rm -f "$log"
}
