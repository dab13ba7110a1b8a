#!/usr/bin/env bash
# For a machine with two H100: about 270 s. identify of SmolLM2 on one card and on two, the same gates.json; the llama-3-8b shape on one card and two.
set -u
. scripts/gpu/settings.sh
duo="node bin/duo.js"
w=x2-work; mkdir -p $w
$duo generate --model "$M" --objective both --haystack "$LEARN" --documents "$LEARN" --device cuda:0 --min-tokens 2k --max-tokens 8k --seed 42 --count 8 --out $w/samples.jsonl --overwrite > "$OUT/x2.log" 2>&1
for devices in cuda:0 cuda:0,cuda:1; do
  { echo "identify on $devices"; time $duo identify --model "$M" --sink 128 --held-out-samples 0 --seed 42 --out $w/$devices --overwrite --device $devices --method quadratic --quadratic-samples 8 --recent 256 --samples $w/samples.jsonl --windows 256,512,1k,2k; } >> "$OUT/x2.log" 2>&1
done
cmp $w/cuda:0/gates.json $w/cuda:0,cuda:1/gates.json && echo "gates.json: the same bytes on one card and on two" | tee -a "$OUT/x2.log"
timeout 230 node bench/gpu-quadratic.mjs --device cuda:0,cuda:1 --seconds 100 --vectors 16 8192 2>&1 | tee "$OUT/gpu-quadratic-x2.txt"
