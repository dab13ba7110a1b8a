#!/usr/bin/env bash
# Every row of the comparison for three seeds at S 128 / R 256: identification and kept gain at nine budgets, then masks from disjoint documents.
# Should take 300 to 430 s on one H100; its own budget stops it at 425 s and what is there is on the page (steps run four at a time, in that order).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
timeout 445 node bench/compare-masks.mjs --model "$M" --learn "$LEARN" --measure "$MEASURE" --out "$OUT" --device cuda:0 --windows 128:256 --jobs 4 \
  --parts samples,identify,gain,stability --scores test/golden/kvpress/smollm2-135m-instruct.json --budget-seconds 425 \
  --title "SmolLM2-135M-Instruct: masks compared on one H100" > "$OUT/compare.txt" 2>&1
echo "rc $?"
# what the next call does not need again
rm -f "$OUT"/samples/*.jsonl
find "$OUT" -name checkpoint.json -delete
rm -rf "$OUT/halves"
tail -n 100 "$OUT/compare.txt"
