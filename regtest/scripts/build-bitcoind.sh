#!/usr/bin/env bash
# Builds bitcoind and bitcoin-cli for regtest from the Bitcoin Core source that the crate libbitcoinkernel-sys carries,
# into the user's cache. No package ships a bitcoind; the crate's checksum is verified by cargo. The Core version is an
# unreleased snapshot without wallet: never point it at real money.
# Usage: build-bitcoind.sh [--print-dir]    Safe to run again: a finished build is kept, a broken one is never seen.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

target_dir="$cache_root/bitcoind-$BITCOIND_VERSION-$LIBBITCOINKERNEL_SYS_VERSION"
if [ "${1:-}" = "--print-dir" ]; then
  echo "$target_dir"
  exit 0
fi
if [ -x "$target_dir/bin/bitcoind" ] && [ -x "$target_dir/bin/bitcoin-cli" ]; then
  note "bitcoind: $target_dir/bin/bitcoind (already built)"
  exit 0
fi

step "bitcoind $BITCOIND_VERSION: building from crate libbitcoinkernel-sys $LIBBITCOINKERNEL_SYS_VERSION (about 5 CPU minutes, once)"
have cargo || fail "cargo is not installed" "install the Rust toolchain: https://rustup.rs"
apt_install g++ cmake ninja-build pkg-config libboost-dev

mkdir -p "$cache_root"
# One builder at a time; the second one finds the work done.
exec 9>"$cache_root/bitcoind.lock"
if ! flock -n 9; then
  note "another build is running: waiting for it"
  flock 9
fi
if [ -x "$target_dir/bin/bitcoind" ] && [ -x "$target_dir/bin/bitcoin-cli" ]; then
  note "bitcoind: $target_dir/bin/bitcoind (built meanwhile)"
  exit 0
fi

build="$(mktemp -d "$cache_root/bitcoind-build.XXXXXX")"
trap 'rm -rf "$build"' EXIT

# The crate declares `links`, so it gets a package of its own to be fetched from.
mkdir -p "$build/fetch/src"
: >"$build/fetch/src/lib.rs"
cat >"$build/fetch/Cargo.toml" <<MANIFEST
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
[dependencies]
libbitcoinkernel-sys = "=$LIBBITCOINKERNEL_SYS_VERSION"
[workspace]
MANIFEST
(cd "$build/fetch" && cargo fetch --quiet) || fail "cargo could not fetch libbitcoinkernel-sys" "check the network and cargo's registry settings, then run again"
manifest="$(cd "$build/fetch" && cargo metadata --format-version 1 --locked --offline |
  grep -o "\"manifest_path\":\"[^\"]*libbitcoinkernel-sys-$LIBBITCOINKERNEL_SYS_VERSION/Cargo.toml\"" | head -n 1 | cut -d'"' -f4)"
[ -n "$manifest" ] || fail "cargo metadata does not name libbitcoinkernel-sys" "report this: the crate's layout has changed"
source_dir="$build/bitcoin"
cp -r "$(dirname "$manifest")/bitcoin" "$source_dir"
chmod -R u+w "$source_dir"
# These two define names that clash with their neighbours when files are merged.
cat >>"$source_dir/src/CMakeLists.txt" <<'CMAKE'

set_source_files_properties(node/chainstate.cpp index/coinstatsindex.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
CMAKE

log="$cache_root/bitcoind-build.log"
run() {
  if ! "$@" >>"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail "building bitcoind failed (whole log: $log)" "install g++, cmake, ninja-build, pkg-config, libboost-dev; or set BITCOIND_EXE to a bitcoind of your own"
  fi
}
: >"$log"
note "configuring"
run cmake -S "$source_dir" -B "$build/out" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DBUILD_DAEMON=ON -DBUILD_CLI=ON -DBUILD_TESTS=OFF -DBUILD_BENCH=OFF -DBUILD_TX=OFF -DBUILD_UTIL=OFF \
  -DBUILD_KERNEL_LIB=OFF -DBUILD_GUI=OFF -DBUILD_BITCOIN_BIN=OFF -DENABLE_WALLET=OFF -DENABLE_IPC=OFF \
  -DENABLE_EXTERNAL_SIGNER=OFF -DWITH_EMBEDDED_ASMAP=OFF -DINSTALL_MAN=OFF -DWITH_CCACHE=OFF \
  -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=8 \
  "-DAPPEND_CXXFLAGS=-O1 -w -ffunction-sections -fdata-sections" "-DAPPEND_LDFLAGS=-Wl,--gc-sections"

ninja -C "$build/out" bitcoind bitcoin-cli >>"$log" 2>&1 &
ninja_pid=$!
while kill -0 "$ninja_pid" 2>/dev/null; do
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    sleep 1
    kill -0 "$ninja_pid" 2>/dev/null || break
  done
  done_so_far="$({ tr '\r' '\n' <"$log" | grep -o '^\[[0-9]*/[0-9]*\]' | tail -n 1; } || true)"
  note "compiling ${done_so_far:-}"
done
if ! wait "$ninja_pid"; then
  tail -n 30 "$log" >&2
  fail "building bitcoind failed (whole log: $log)" "free memory and disk, then run again; or set BITCOIND_EXE to a bitcoind of your own"
fi

mkdir -p "$build/install/bin"
for program in bitcoind bitcoin-cli; do
  cp "$build/out/bin/$program" "$build/install/bin/$program"
  strip "$build/install/bin/$program"
done
"$build/install/bin/bitcoind" -version >/dev/null || fail "the fresh bitcoind does not run" "see $log"
rm -rf "$target_dir"
mv "$build/install" "$target_dir"
note "bitcoind: $target_dir/bin/bitcoind"
