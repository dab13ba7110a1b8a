#!/usr/bin/env bash
# What each storage of the KV cache costs the published model, and how fast decode reads it. About 240 s on one H100: op and session tests (8 s),
# decode attention at 128K and steps by storage (90 s), five tasks at 2K and 4K, 40 prompts each, storages side by side (three of them took 107 s, 27 November 2026).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
for group in decode layer pages attention; do timeout 60 "$BUILD"/tests/cuda/test_cuda_ops $group; done > "$OUT/ops.txt" 2>&1; grep -E "FAILED|checks" "$OUT/ops.txt"
timeout 60 "$BUILD"/tests/cuda/test_cuda_session > "$OUT/session.txt" 2>&1; grep -E "FAILED|checks" "$OUT/session.txt"
timeout 100 node bench/gpu-decode.mjs attention int8 k8v4 int4 > "$OUT/decode-shapes.txt" 2>&1; grep -E "k8v4|int" "$OUT/decode-shapes.txt"
for kv in bf16 int8 k8v4 int4; do
  timeout 60 $DUO bench --shape llama-3-8b --kv-dtype $kv --device cuda:0 --contexts 128k --prefill-up-to 0 --streaming-fraction 0.5 --steps 32 > "$OUT/step-$kv.txt" 2> "$OUT/step-$kv.log"; tail -n 4 "$OUT/step-$kv.txt"
done
task() {  # storage, rotation flags …
  local name=$1
  shift
  timeout 120 $DUO eval --model "$M" --device cuda:0 --tasks niah_single_1,niah_single_2,niah_multikey_1,vt,kv-retrieval --essays "$MEASURE" --lengths 2k,4k --task-samples 40 "$@" --out "$OUT/tasks-$name" > "$OUT/tasks-$name.txt" 2> "$OUT/tasks-$name.log"
  echo "tasks-$name rc $?"
  rm -rf "$OUT/tasks-$name"/predictions*
}
for kv in bf16 int8 fp8 k8v4 int4; do task $kv --kv-dtype $kv & done
wait
for kv in k8v4 int4; do task $kv-plain --kv-dtype $kv --kv-rotation off & done
wait
tail -n 14 "$OUT"/tasks-*.txt
