#!/usr/bin/env bash
# Masks with windows by head on SmolLM2: ablations, variants of the cut, extrapolation, promises on unseen documents, narrower rungs (side by side), then
# capacity. Should take 260 to 360 s in all on one H100 (samples of 8K tokens); every part has a limit of its own and leaves what it has.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
common=(--model "$M" --learn "$LEARN" --measure "$MEASURE" --device cuda:0)
# gates for the promise and for the capacity: the comparison's ladder, samples by turns
$DUO generate --model "$M" --objective both --haystack "$LEARN" --documents "$LEARN" --device cuda:0 --min-tokens 8k --max-tokens 8k --seed 42 --count 16 --out "$OUT/both.jsonl" --overwrite > "$OUT/generate.log" 2>&1
timeout 240 node bench/ablate-windows.mjs "${common[@]}" --out "$OUT/ablation" > "$OUT/ablate.log" 2>&1 &
timeout 240 node bench/cut-variants.mjs "${common[@]}" --out "$OUT/variants" > "$OUT/variants.log" 2>&1 &
timeout 240 node bench/extrapolate-windows.mjs "${common[@]}" --out "$OUT/extrapolation" > "$OUT/extrapolate.log" 2>&1 &
(
  timeout 120 $DUO identify --model "$M" --method quadratic --quadratic-samples 8 --samples "$OUT/both.jsonl" --sink 128 --recent 256 --windows 256,512,1k,2k \
    --held-out-samples 0 --kv-share 0.14 --at 8k --device cuda:0 --out "$OUT/run" --overwrite > "$OUT/identify.log" 2>&1
  timeout 120 node bench/promise-draws.mjs --model "$M" --gates "$OUT/run/gates.json" --measure "$MEASURE" --device cuda:0 --out "$OUT/draws" > "$OUT/draws.log" 2>&1
) &
(
  # narrower rungs: whether windows of 64 and 128 tokens free entries that a small budget wants elsewhere
  timeout 150 $DUO identify --model "$M" --method quadratic --quadratic-samples 8 --samples "$OUT/both.jsonl" --sink 128 --recent 256 --windows 64,128,256,512,1k,2k \
    --held-out-samples 0 --kv-share 0.14 --at 8k --device cuda:0 --out "$OUT/narrow" --overwrite > "$OUT/narrow.log" 2>&1
) &
wait
# one set of held-out texts and one reference for both ladders
for run in run narrow; do
  timeout 60 $DUO eval --model "$M" --device cuda:0 --gates "$OUT/$run/gates.json" --kv-shares 0.33,0.24,0.14,0.1 --at 8k --baselines full --tasks long-range \
    --documents "$MEASURE" --lengths 8k --task-samples 20 --json > "$OUT/rungs-$run.json" 2> "$OUT/rungs-$run.log"
done
$DUO export --gates "$OUT/run/gates.json" --kv-share 0.14 --at 8k --out "$OUT/by-head-14.json" > "$OUT/export.log" 2>&1
# one window of 256 at a third of the cache at 8K tokens: 70.3 % stream
$DUO export --gates "$OUT/run/gates.json" --streaming-fraction 0.703 --out "$OUT/binary-33.json" >> "$OUT/export.log" 2>&1
timeout 60 $DUO bench --shape llama-3-8b --device cuda:0 --windows-like "$OUT/by-head-14.json" --windows-like "$OUT/binary-33.json" --contexts 128k,1m --prefill-up-to 0 --steps 8 > "$OUT/capacity.txt" 2> "$OUT/capacity.log"
timeout 60 $DUO bench --shape llama-3-8b --device cuda:0 --windows-like "$OUT/by-head-14.json" --contexts 6m --prefill-up-to 0 --steps 4 > "$OUT/capacity-6m.txt" 2> "$OUT/capacity-6m.log"
rm -f "$OUT/both.jsonl"
tail -n 3 "$OUT"/*.log
