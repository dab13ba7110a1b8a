#!/usr/bin/env bash
# Every row of the comparison for three seeds at S 128 / R 256: identification and kept gain at nine budgets. Masks from disjoint documents are stability.sh.
# Took 386 s on one H100 with sanitizer runs beside it (27 November 2026); its own budget stops it at 480 s and what is there is on the page (steps run
# four at a time, in that order).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
timeout 500 node bench/compare-masks.mjs --model "$M" --learn "$LEARN" --measure "$MEASURE" --out "$OUT" --device cuda:0 --windows 128:256 --jobs 4 \
  --parts samples,identify,gain --scores test/golden/kvpress/smollm2-135m-instruct.json --budget-seconds 480 \
  --title "SmolLM2-135M-Instruct: masks compared on one H100" > "$OUT/compare.txt" 2>&1
echo "rc $?"
# what the next call does not need again
rm -f "$OUT"/samples/*.jsonl
find "$OUT" -name checkpoint.json -delete
tail -n 100 "$OUT/compare.txt"
