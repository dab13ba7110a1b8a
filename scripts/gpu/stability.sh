#!/usr/bin/env bash
# How far masks from disjoint halves of the documents agree, by method and number of samples (S 128 / R 256, one seed): 22 steps, four at a time. Not timed as a
# whole: four samples took 16 to 18 s each and the two smallest of 18 identifications 10 s each on one H100. Its own budget stops it at 480 s.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
timeout 500 node bench/compare-masks.mjs --model "$M" --learn "$LEARN" --measure "$MEASURE" --out "$OUT" --device cuda:0 --windows 128:256 --jobs 4 \
  --parts stability --budget-seconds 480 --title "SmolLM2-135M-Instruct: masks from disjoint documents" > "$OUT/stability.txt" 2>&1
echo "rc $?"
rm -f "$OUT"/samples/*.jsonl
find "$OUT" -name checkpoint.json -delete
rm -rf "$OUT/halves"
tail -n 60 "$OUT/stability.txt"
