#!/usr/bin/env bash
# Tasks under the main rows of the comparison (one seed, S 128 / R 256), then kept gain of all rows at S 16 / R 64 (one seed).
# Should take 400 to 470 s on one H100; the two budgets, 320 and 150 s, stop it, and what is there is on the pages.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
run() {
  local name=$1 seconds=$2
  shift 2
  timeout $((seconds + 15)) node bench/compare-masks.mjs --model "$M" --learn "$LEARN" --measure "$MEASURE" --out "$OUT/$name" --device cuda:0 --jobs 4 \
    --seeds 42 --scores test/golden/kvpress/smollm2-135m-instruct.json --budget-seconds "$seconds" "$@" > "$OUT/$name.txt" 2>&1
  echo "== $name rc $?"
  rm -rf "$OUT/$name"/samples/*.jsonl "$OUT/$name/halves" "$OUT/$name"/*/cells-*/predictions*
  find "$OUT/$name" -name checkpoint.json -delete
  tail -n 60 "$OUT/$name.txt"
}
run tasks 320 --windows 128:256 --parts samples,identify,tasks --task-fractions 0.5,0.7,0.8,0.9 --prompts 8 \
  --only samples/,gates-both,quadratic-both,kvpress,quadratic-long-range,gates-long-range,mean-query-key,attention-mass,retrieval-score,random
run narrow 150 --windows 16:64 --parts samples,identify,gain
