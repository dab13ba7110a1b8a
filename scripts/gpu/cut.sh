#!/usr/bin/env bash
# Masks with windows by head on SmolLM2: ablations, extrapolation, promises on unseen documents, narrower rungs (side by side), then capacity. Took 441 s on one
# H100 with cut-variants beside it (27 November 2026), which is a call of its own now; every part has a limit of its own and leaves what it has.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
common=(--model "$M" --learn "$LEARN" --measure "$MEASURE" --device cuda:0)
# gates for the promise and for the capacity: the comparison's ladder, samples by turns
$DUO generate --model "$M" --objective both --haystack "$LEARN" --documents "$LEARN" --device cuda:0 --min-tokens 8k --max-tokens 8k --seed 42 --count 16 --out "$OUT/both.jsonl" --overwrite > "$OUT/generate.log" 2>&1
timeout 400 node bench/ablate-windows.mjs "${common[@]}" --out "$OUT/ablation" > "$OUT/ablate.log" 2>&1 &
timeout 400 node bench/extrapolate-windows.mjs "${common[@]}" --out "$OUT/extrapolation" > "$OUT/extrapolate.log" 2>&1 &
(
  timeout 330 $DUO identify --model "$M" --method quadratic --quadratic-samples 8 --samples "$OUT/both.jsonl" --sink 128 --recent 256 --windows 256,512,1k,2k \
    --held-out-samples 0 --kv-share 0.14 --at 8k --device cuda:0 --out "$OUT/run" --overwrite > "$OUT/identify.log" 2>&1
  timeout 150 node bench/promise-draws.mjs --model "$M" --gates "$OUT/run/gates.json" --measure "$MEASURE" --device cuda:0 --out "$OUT/draws" > "$OUT/draws.log" 2>&1
) &
(
  # narrower rungs: whether windows of 64 and 128 tokens free entries that a small budget wants elsewhere
  timeout 380 $DUO identify --model "$M" --method quadratic --quadratic-samples 8 --samples "$OUT/both.jsonl" --sink 128 --recent 256 --windows 64,128,256,512,1k,2k \
    --held-out-samples 0 --kv-share 0.14 --at 8k --device cuda:0 --out "$OUT/narrow" --overwrite > "$OUT/narrow.log" 2>&1
) &
wait
# Both ladders in one call: what is kept counts from every head on the narrowest window of the first mask, which has to be one for both (256 tokens).
mkdir -p "$OUT/rungs"
masks=()
for run in run narrow; do
  for share in 0.33 0.24 0.14 0.1; do
    $DUO export --gates "$OUT/$run/gates.json" --kv-share $share --at 8k --out "$OUT/rungs/$run-$share.json" --overwrite >> "$OUT/rungs.log" 2>&1
    masks+=(--other-mask "$OUT/rungs/$run-$share.json")
  done
done
timeout 90 $DUO eval --model "$M" --device cuda:0 "${masks[@]}" --baselines full --tasks long-range \
  --documents "$MEASURE" --lengths 8k --task-samples 20 --json > "$OUT/rungs.json" 2>> "$OUT/rungs.log"
$DUO export --gates "$OUT/run/gates.json" --kv-share 0.14 --at 8k --out "$OUT/by-head-14.json" > "$OUT/export.log" 2>&1
# one window of 256 at a third of the cache at 8K tokens: 70.3 % stream
$DUO export --gates "$OUT/run/gates.json" --streaming-fraction 0.703 --out "$OUT/binary-33.json" >> "$OUT/export.log" 2>&1
timeout 60 $DUO bench --shape llama-3-8b --device cuda:0 --windows-like "$OUT/by-head-14.json" --windows-like "$OUT/binary-33.json" --contexts 128k,1m --prefill-up-to 0 --steps 8 > "$OUT/capacity.txt" 2> "$OUT/capacity.log"
timeout 60 $DUO bench --shape llama-3-8b --device cuda:0 --windows-like "$OUT/by-head-14.json" --contexts 6m --prefill-up-to 0 --steps 4 > "$OUT/capacity-6m.txt" 2> "$OUT/capacity-6m.log"
rm -f "$OUT/both.jsonl"
tail -n 3 "$OUT"/*.log
