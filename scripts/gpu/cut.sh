#!/usr/bin/env bash
# Masks with windows by head on SmolLM2: ablations, variants of the cut, extrapolation, promises on unseen documents (side by side), then capacity.
# Should take 240 to 300 s in all on one H100; every part has a limit of its own and leaves what it has.
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
wait
$DUO export --gates "$OUT/run/gates.json" --kv-share 0.14 --at 8k --out "$OUT/by-head-14.json" > "$OUT/export.log" 2>&1
# one window of 256 at a third of the cache at 8K tokens: 70.3 % stream
$DUO export --gates "$OUT/run/gates.json" --streaming-fraction 0.703 --out "$OUT/binary-33.json" >> "$OUT/export.log" 2>&1
timeout 60 $DUO bench --shape llama-3-8b --device cuda:0 --windows-like "$OUT/by-head-14.json" --windows-like "$OUT/binary-33.json" --contexts 128k,1m --prefill-up-to 0 --steps 8 > "$OUT/capacity.txt" 2> "$OUT/capacity.log"
timeout 60 $DUO bench --shape llama-3-8b --device cuda:0 --windows-like "$OUT/by-head-14.json" --contexts 6m --prefill-up-to 0 --steps 4 > "$OUT/capacity-6m.txt" 2> "$OUT/capacity-6m.log"
rm -f "$OUT/both.jsonl"
tail -n 3 "$OUT"/*.log
