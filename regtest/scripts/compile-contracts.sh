#!/usr/bin/env bash
# Compiles the test tokens (regtest/contracts) with the pinned solc from npm. With --check, fails when the committed bytes
# are not what the sources compile to.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

solc_dir="$cache_root/solc-$SOLC_VERSION"
if [ ! -d "$solc_dir/node_modules/solc" ]; then
  have npm || apt_install nodejs npm
  mkdir -p "$cache_root"
  staging="$(mktemp -d "$cache_root/solc-install.XXXXXX")"
  trap 'rm -rf "$staging"' EXIT
  npm install --prefix "$staging" --no-audit --no-fund --no-save --loglevel=error "solc@$SOLC_VERSION" >&2 ||
    fail "npm could not install solc@$SOLC_VERSION" "check the network and npm's registry setting"
  if [ ! -d "$solc_dir" ]; then mv "$staging" "$solc_dir"; fi
fi
node "$repo_root/regtest/scripts/compile-contracts.js" "$solc_dir" "$@"
