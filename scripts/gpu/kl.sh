#!/usr/bin/env bash
# Hidden states against KL divergence as what samples are measured by, per objective, method and number of samples: should take 250 to 390 s on one H100
# (its own budget stops it at 380 s and the table holds what is there; steps run four at a time, the most wanted first).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
timeout 395 node bench/compare-distances.mjs --model "$M" --learn "$LEARN" --measure "$MEASURE" --out "$OUT" --device cuda:0 --jobs 4 --budget-seconds 380 > "$OUT/distances.txt" 2>&1
echo "rc $?"
rm -rf "$OUT/samples"
rm -f "$OUT"/*/run/checkpoint.json
tail -n 140 "$OUT/distances.txt"
