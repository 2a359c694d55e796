#!/usr/bin/env bash
# Rebuilds the derived files of every committed run, and the tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

for reference in results/*/reference*; do
  [ -f "$reference/manifest.json" ] || [ -f "$reference/calibration.json" ] || continue
  case "$reference" in
    results/ablation/* | results/peers/* | results/roofline/*) cargo run --release -- report "$reference" --splice README.md ;;
    *) cargo run --release -- report "$reference" ;;
  esac
done
