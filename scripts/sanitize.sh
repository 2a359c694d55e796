#!/usr/bin/env bash
# The tests of the kernels under tools that watch every access to memory:
#
#   scripts/sanitize.sh valgrind    under Valgrind's memcheck, stable toolchain
#   scripts/sanitize.sh address     with AddressSanitizer compiled in, nightly toolchain
#   scripts/sanitize.sh             both, one after the other
#
# Ends with 0 if nothing was found, 1 if a tool found something or a test failed, 2 if a tool is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() { printf 'sanitize.sh: %s\n' "$*" >&2; exit 2; }
found() { printf 'sanitize.sh: %s: see the first report above\n' "$*" >&2; exit 1; }
target="$(rustc -vV | sed -n 's/^host: //p')"
build="${CARGO_TARGET_DIR:-target}"

with_valgrind() {
  command -v valgrind > /dev/null ||
    missing "valgrind is not installed; install the package 'valgrind' of your system, or run 'scripts/sanitize.sh address'"
  local runner
  runner="CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<< "$target")_RUNNER"
  printf '\n== memcheck: scalar and AVX2 code; valgrind hides AVX-512 from what it runs\n'
  # One thread: valgrind runs threads in turn anyway. Documentation tests run no other code.
  env "$runner=valgrind --quiet --error-exitcode=1" \
    cargo test -p septet-kernels --lib --tests -- --test-threads 1 || found "valgrind, or a test under it, failed"
}

with_address_sanitizer() {
  cargo +nightly --version > /dev/null 2>&1 ||
    missing "no nightly toolchain; run 'rustup toolchain install nightly', or 'scripts/sanitize.sh valgrind'"
  printf '\n== AddressSanitizer: every instruction set of this CPU\n'
  # A folder of its own: other flags would make the next ordinary build start over. With --target,
  # build scripts and procedural macros stay without the sanitizer.
  RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$build/sanitize" \
    cargo +nightly test -p septet-kernels --lib --tests --target "$target" ||
    found "AddressSanitizer, or a test under it, failed"
}

case "${1:-both}" in
  valgrind) with_valgrind ;;
  address) with_address_sanitizer ;;
  both) with_valgrind; with_address_sanitizer ;;
  *) missing "'$1' is not one of valgrind, address; without a word both run" ;;
esac
printf '\nsanitize.sh: nothing was found\n'
