#!/usr/bin/env bash
# Identification shared by the tasks of a Slurm array: sbatch examples/slurm-array.sh
# Every task joins the run in $OUT, a folder that all nodes see; samples are divided, a task that is killed or requeued is taken over by the
# others or comes back, and the results are those of one process. All nodes need the same kind of GPU (or, with --device cpu, of CPU).
#SBATCH --job-name=duo-identify
#SBATCH --array=0-3
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --time=02:00:00
set -euo pipefail
MODEL=${MODEL:?the folder, GGUF file or Hub name of a model}
OUT=${OUT:?a run folder that all nodes see}
# Every task must see the same files by the same content: samples are made from --seed and these documents.
exec npx --no-install duo identify --model "$MODEL" --method quadratic --quadratic-samples "${SAMPLES:-16}" \
  --device "${DEVICE:-cuda:0}" --out "$OUT" --join --progress plain "$@"
