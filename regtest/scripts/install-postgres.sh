#!/usr/bin/env bash
# Installs Postgres from the Debian package, for tests that start servers of their own. No server is left running: the package
# would otherwise make a cluster and start it on every boot.
# Usage: install-postgres.sh    Safe to run again: an installed version is kept, and nothing of its clusters is touched.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The programs that bursar-regtest starts, where it looks for them.
found() {
  local dir
  for dir in "$@"; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && [ -x "$dir/psql" ]; then
      note "postgres: $dir ($("$dir/postgres" --version))"
      return 0
    fi
  done
  return 1
}

if [ -n "${POSTGRES_BIN:-}" ]; then
  found "$POSTGRES_BIN" || fail "POSTGRES_BIN names $POSTGRES_BIN, which lacks initdb, postgres or psql" "correct it or unset it"
  exit 0
fi
if have initdb && found "$(dirname "$(readlink -f "$(command -v initdb)")")"; then exit 0; fi
if found /usr/lib/postgresql/*/bin; then exit 0; fi

step "Postgres: installing the Debian package"
# postgresql-common comes first, so that its configuration can say "no cluster" before the server's package asks for one.
apt_install postgresql-common
conf=/etc/postgresql-common/createcluster.conf
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
if ! grep -qE '^create_main_cluster *= *false' "$conf" 2>/dev/null; then
  echo 'create_main_cluster = false' | "${as_root[@]}" tee -a "$conf" >/dev/null ||
    fail "could not write $conf" "run as root: echo 'create_main_cluster = false' >> $conf"
fi
apt_install postgresql
found /usr/lib/postgresql/*/bin || fail "the Debian package postgresql did not bring initdb, postgres and psql" "set POSTGRES_BIN to a folder that has them"
