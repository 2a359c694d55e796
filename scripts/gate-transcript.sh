#!/usr/bin/env bash
# What `bench gate` says where the truth is known:
#
#   scripts/gate-transcript.sh slower       a kernel that was slowed down on purpose: regression, 1
#   scripts/gate-transcript.sh unrelated    a change of a help text: pass, 0
#   scripts/gate-transcript.sh loaded       the same program twice, beside two busy processes for each CPU: inconclusive, 2
#   scripts/gate-transcript.sh repeats      instruction counts of one program fifty times: pass each time, 0
#   scripts/gate-transcript.sh              all of them
#
# Programs are built from the commit HEAD in a work tree of their own; the checkout stays as it is. Each transcript
# is printed and written to results/gate/transcripts/. Ends with 0 if every exit code is the one above, else with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

repeats=50
# Pairs of blocks: half of those of the experiment, and beside a load, where each takes longer, a few.
pairs=24
pairs_loaded=8
transcripts="$PWD/results/gate/transcripts"
work="$(mktemp -d)"
tree="$work/tree"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/gate-transcript"
load=()
clean() {
  if [ "${#load[@]}" -gt 0 ]; then kill "${load[@]}" 2> /dev/null || true; fi
  git worktree remove --force "$tree"
  rm -rf "$work"
}
mkdir -p "$transcripts"
git worktree add --quiet --detach "$tree" HEAD
trap clean EXIT
wrong=0

# program NAME: builds the work tree and keeps the program.
program() {
  (cd "$tree" && cargo build --quiet --release)
  cp "$CARGO_TARGET_DIR/release/bench" "$work/$1"
}

# changed FILE EXPRESSION: edits a file of the work tree by sed; an edit that changes nothing is an error.
changed() {
  sed -i "$2" "$tree/$1"
  if git -C "$tree" diff --quiet -- "$1"; then
    echo "gate-transcript.sh: nothing in $1 matches: $2" >&2
    exit 1
  fi
}

# judged NAME EXPECTED ARGUMENT…: runs the gate and compares its exit code.
judged() {
  local name="$1" expected="$2" found=0
  shift 2
  "$work/base" gate "$@" > "$work/said" 2> "$work/progress" || found=$?
  {
    echo "# $name: exit code $found, expected $expected"
    # Folders of this machine are of no interest.
    sed "s|$work/||g" "$work/said"
  } | tee "$transcripts/$name.txt"
  if [ "$found" -ne "$expected" ]; then
    cat "$work/progress" >&2
    wrong=1
  fi
}

# pair NAME EXPECTED PROGRAM PAIRS: compares a program with the base.
pair() {
  judged "$1" "$2" --bench-a "$work/base" --bench-b "$work/$3" experiments/gate.toml --blocks "$4" --out "$work/runs/$1"
}

slower() {
  # About a tenth of the time of the fastest kernels.
  changed kernels/src/gemv.rs '/pub fn gemv(&self, job/,/let variant/ s|^\( *\)let variant.*|&\n\1(0..tiles.len() * weights.cols() / 2).for_each(\|step\| _ = std::hint::black_box(step));|'
  program slower
  git -C "$tree" checkout --quiet -- .
  pair slower 1 slower "$pairs"
}

unrelated() {
  changed src/cli/list.rs 's|^/// List axes, kernels and infeasible points|/// List all axes, all kernels, and all infeasible points|'
  program unrelated
  git -C "$tree" checkout --quiet -- .
  pair unrelated 0 unrelated "$pairs"
}

loaded() {
  cp "$work/base" "$work/same"
  for _ in $(seq $((2 * $(nproc)))); do
    (while :; do :; done) &
    load+=("$!")
  done
  pair loaded 2 same "$pairs_loaded"
  kill "${load[@]}"
  load=()
}

repeated() {
  local selection=(-a format=w3p5 -a layout=dense -a unroll=u4)
  "$work/base" gate --counts --baseline "$work/baseline.json" "${selection[@]}" --update "the counts that are to repeat" > /dev/null
  for _ in $(seq "$repeats"); do
    judged repeats 0 --counts --baseline "$work/baseline.json" "${selection[@]}" > /dev/null
    if [ "$wrong" -ne 0 ]; then return; fi
  done
  sed -i "1s|.*|# repeats: exit code 0 in each of $repeats runs; the last one said|" "$transcripts/repeats.txt"
  cat "$transcripts/repeats.txt"
}

program base
case "${1:-all}" in
  slower) slower ;;
  unrelated) unrelated ;;
  loaded) loaded ;;
  repeats) repeated ;;
  all) slower; unrelated; loaded; repeated ;;
  *) echo "gate-transcript.sh: no transcript '$1'; there are slower, unrelated, loaded and repeats" >&2; exit 3 ;;
esac
exit "$wrong"
