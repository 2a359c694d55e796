#!/usr/bin/env bash
# Rebuilds the derived files of every committed run, and the tables in README.md from the main one.
set -euo pipefail
cd "$(dirname "$0")/.."

for reference in results/*/reference; do
  [ -f "$reference/manifest.json" ] || continue
  if [ "$reference" = results/ablation/reference ]; then
    cargo run --release -- report "$reference" --splice README.md
  else
    cargo run --release -- report "$reference"
  fi
done
