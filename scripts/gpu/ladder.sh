#!/usr/bin/env bash
# Takes about 280 s: op tests of the sketch and the products (20 s), SmolLM2's ladder by probes and by sketches (time, agreement, kept gain; 100 s), its
# quadratic measurement by probes and sketches (50 s), the quadratic method on the llama-3-8b shape (100 s).
set -u
. scripts/gpu/settings.sh
( "$BUILD"/tests/cuda/test_cuda_ops launch_ladder_products launch_sum_runs launch_gram launch_swiglu_backward | tail -4
  "$BUILD"/tests/cuda/test_cuda_model | grep -E "sketch|FAILED|checks"
) 2>&1 | tee "$OUT/op-tests.txt"
duo="node bin/duo.js"
w=ladder-work; mkdir -p $w
{ time $duo generate --model "$M" --objective both --haystack "$LEARN" --documents "$LEARN" --device cuda:0 --min-tokens 2k --max-tokens 8k --seed 42 --count 16 --out $w/samples.jsonl --overwrite; } > "$OUT/ladder.log" 2>&1
timeout 100 node bench/gpu-ladder.mjs --model "$M" --samples $w/samples.jsonl --count 3 --vectors 8,12,16,32 2>&1 | tee "$OUT/gpu-ladder.txt"
run() { # name, vectors
  { time $duo identify --model "$M" --sink 128 --held-out-samples 0 --seed 42 --out $w/$1 --overwrite --device cuda:0 --method quadratic --quadratic-samples 8 --recent 256 --samples $w/samples.jsonl --windows 256,512,1k,2k --ladder-vectors $2; } >> "$OUT/ladder.log" 2>&1
  for share in 0.33 0.24 0.14; do
    $duo export --gates $w/$1/gates.json --kv-share $share --at 8k --out $w/$1@$share.json >> "$OUT/ladder.log" 2>&1 && masks="$masks --other-mask $w/$1@$share.json"
  done
}
masks=""
run finite 0; run sketch-12 12; run sketch-32 32
{ time $duo eval --model "$M" --baselines full $masks --device cuda:0 --tasks long-range --documents "$MEASURE" --lengths 8k --task-samples 20 --json > "$OUT/gain.json"; } 2>> "$OUT/ladder.log"
for v in 0 16 32; do
  { echo "quadratic-vectors $v"; time $duo identify --model "$M" --sink 128 --held-out-samples 0 --seed 42 --out $w/q$v --overwrite --device cuda:0 --method quadratic --quadratic-samples 8 --recent 256 --samples $w/samples.jsonl --quadratic-vectors $v; } >> "$OUT/ladder.log" 2>&1
done
{ time $duo eval --model "$M" --gates $w/q0/gates.json --gates $w/q16/gates.json --gates $w/q32/gates.json --fractions 0.5,0.7,0.8,0.9 --baselines full,streaming --device cuda:0 --tasks long-range --documents "$MEASURE" --lengths 8k --task-samples 20 --json > "$OUT/gain-one-window.json"; } 2>> "$OUT/ladder.log"
tar -czf "$OUT/gates.tgz" -C $w $(cd $w && ls */gates.json *@*.json samples.jsonl)
timeout 110 node bench/gpu-quadratic.mjs --seconds 75 8192 2>&1 | tee "$OUT/gpu-quadratic.txt"
