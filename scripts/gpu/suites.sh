#!/usr/bin/env bash
# Kept gain over budgets on books that nothing was learnt from, in the report: about 150 s on one H100 (identify 60, eval 80, report 5).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
timeout 150 $DUO identify --model "$M" --documents "$LEARN" --held-out-documents "$MEASURE" --sink 16 --recent 64 --device cuda:0 --out "$OUT/run" --overwrite > "$OUT/identify.txt" 2> "$OUT/identify.log"
timeout 150 $DUO eval --model "$M" --mask "$OUT/run/mask.json" --gates "$OUT/run/gates.json" --fractions 0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9 --baselines full,streaming,random --random-masks 1 \
  --tasks long-range --lengths 2k,8k --task-samples 12 --held-out-documents "$MEASURE" --device cuda:0 --out "$OUT/run" > "$OUT/eval.txt" 2> "$OUT/eval.log"
timeout 60 $DUO report "$OUT/run" > "$OUT/report.txt" 2>&1
tail -n 30 "$OUT"/*.txt "$OUT"/*.log
