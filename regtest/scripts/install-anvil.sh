#!/usr/bin/env bash
# Installs anvil (a local Ethereum node for tests) from npm into the user's cache.
# Usage: install-anvil.sh    Safe to run again: an installed version is kept.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

target_dir="$cache_root/anvil-$ANVIL_VERSION"
if [ -x "$target_dir/bin/anvil" ]; then
  note "anvil: $target_dir/bin/anvil (already installed)"
  exit 0
fi

step "anvil $ANVIL_VERSION: installing from npm"
have npm || apt_install nodejs npm
mkdir -p "$cache_root"
exec 9>"$cache_root/anvil.lock"
flock 9
if [ -x "$target_dir/bin/anvil" ]; then
  note "anvil: $target_dir/bin/anvil (installed meanwhile)"
  exit 0
fi
staging="$(mktemp -d "$cache_root/anvil-install.XXXXXX")"
trap 'rm -rf "$staging"' EXIT
npm install --prefix "$staging/npm" --no-audit --no-fund --no-save --loglevel=error "@foundry-rs/anvil@$ANVIL_VERSION" >&2 ||
  fail "npm could not install @foundry-rs/anvil@$ANVIL_VERSION" "check the network and npm's registry setting; or set ANVIL_EXE to an anvil of your own"
# The package's own `anvil` is a node wrapper that outlives a kill; the native program is in the package of the platform.
native="$(find "$staging/npm/node_modules/@foundry-rs" -path '*/anvil-*/bin/anvil' -type f | head -n 1)"
[ -n "$native" ] || fail "@foundry-rs/anvil has no program for this machine ($(uname -sm))" "set ANVIL_EXE to an anvil of your own"
mkdir -p "$staging/install/bin"
cp "$native" "$staging/install/bin/anvil"
chmod +x "$staging/install/bin/anvil"
"$staging/install/bin/anvil" --version >/dev/null || fail "the installed anvil does not run" "set ANVIL_EXE to an anvil of your own"
rm -rf "$target_dir"
mv "$staging/install" "$target_dir"
note "anvil: $target_dir/bin/anvil"
