#!/usr/bin/env bash
# Sessions: batches of up to 64, pages of the KV cache, memcheck: 57 s on one H100 (27 November 2026).
set -u
. scripts/gpu/settings.sh
t() { local b=$SECONDS n=$1; shift; timeout "$LIM" "$@" > "$OUT/$n.txt" 2>&1; echo "== $n rc $? $((SECONDS-b)) s"; grep -i -E "fail|error|not ok" "$OUT/$n.txt" | head -5; tail -n ${TAIL:-14} "$OUT/$n.txt"; }
E="$BUILD/tests/cuda"; [ -x "$E/test_cuda_session" ] || E=$(dirname "$(find "$BUILD" -name test_cuda_session -type f | head -1)")
TAIL=4 LIM=60 t session "$E/test_cuda_session"
TAIL=3 LIM=30 t decode-ops "$E/test_cuda_ops" decode
TAIL=3 LIM=30 t pages-ops "$E/test_cuda_ops" pages
LIM=60 t decode-128k node bin/duo.js bench --device cuda:0 --shape llama-3-8b --contexts 128k --prefill-up-to 0 --streaming-fraction 0.5,0.75 --steps 24
if node bin/duo.js bench --help | grep -q 'batch <a,b>'; then
  LIM=80 t batch-32k node bin/duo.js bench --device cuda:0 --shape llama-3-8b --contexts 32k --prefill-up-to 0 --streaming-fraction 0.5 --kv-dtype int8 --batch 1,8,32,most --steps 8
  LIM=60 t batch-8k-128k node bin/duo.js bench --device cuda:0 --shape llama-3-8b --contexts 8k,128k --prefill-up-to 0 --streaming-fraction 0.5 --kv-dtype int8 --batch 4,most --steps 8
else
  for n in 32 29 55; do LIM=60 t batch-$n node bin/duo.js bench --device cuda:0 --shape llama-3-8b --contexts 32k --prefill-up-to 0 --streaming-fraction 0.5 --kv-dtype int8 --batch $n --steps 8; done
fi
S=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
if [ -n "$S" ]; then LIM=120 TAIL=6 t memcheck "$S" --tool memcheck "$E/test_cuda_session"; else echo "compute-sanitizer is not there"; fi
nvidia-smi --query-gpu=name,memory.total,clocks.sm --format=csv
