#!/usr/bin/env bash
# A machine with two cards of one kind: the same bytes from either and from both, and what the second is worth. Not run yet; should take about 460 s: the test
# (30 s), SmolLM2 on each card and on both, with one window and with a ladder (200 s), two samples of the llama-3-8b shape on each card and on both (230 s).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
timeout 120 env REQUIRE_GPU=1 node node_modules/vitest/vitest.mjs run test/gpu/two-devices.test.ts > "$OUT/vitest.txt" 2>&1; tail -n 5 "$OUT/vitest.txt"
identify() {  # name, device, flags …
  local name=$1-${2//[:,]/} device=$2
  shift 2
  timeout 90 $DUO identify --model "$M" --method quadratic --held-out-samples 0 --device "$device" --out "$OUT/$name" --overwrite "$@" > "$OUT/$name.txt" 2> "$OUT/$name.log"
  sha256sum "$OUT/$name/gates.json"
  grep -o '"scoreSeconds":[^,]*' "$OUT/$name/run.json"
  rm -f "$OUT/$name/checkpoint.json"
}
for device in cuda:0 cuda:1 cuda:0,cuda:1; do
  identify one-window "$device" --quadratic-samples 16
  identify ladder "$device" --quadratic-samples 8 --windows 256,512,1k,2k
done
# The other way round, so that a slow card is not taken for a slow pair.
for devices in cuda:0,cuda:1 cuda:1,cuda:0; do
  timeout 200 node bench/gpu-quadratic.mjs --device $devices --seconds 75 --vectors 8 8192 > "$OUT/llama-${devices//[:,]/}.txt" 2>&1; tail -n 1 "$OUT/llama-${devices//[:,]/}.txt"
done
nvidia-smi topo -m > "$OUT/topology.txt" 2>&1
