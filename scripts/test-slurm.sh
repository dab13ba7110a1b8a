#!/usr/bin/env bash
# examples/slurm-array.sh on a real Slurm of one node, started here from Debian's packages (apt-get install slurmctld slurmd munge slurm-client):
# four array tasks share one identification of the demo model; one is killed, one is requeued. Ends with 0 where gates.json and mask.json are
# the bytes of one process. Needs root, for munge and slurmd. Everything lies in a temporary folder and is stopped at the end.
#   bash scripts/test-slurm.sh
set -euo pipefail
cd "$(dirname "$0")/.."
for program in munged slurmctld slurmd sbatch scontrol; do
  command -v "$program" >/dev/null || { echo "test-slurm: expected $program, found none; apt-get install slurmctld slurmd munge slurm-client" >&2; exit 2; }
done
work=$(mktemp -d)
chmod 755 "$work"
host=$(hostname -s)
started=()
stop() {
  scancel -f -u root >/dev/null 2>&1 || true
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT

mkdir "$work/state" "$work/spool"
(umask 077 && head -c 1024 /dev/urandom > "$work/munge.key")
munged --force --foreground --key-file="$work/munge.key" --socket="$work/munge.sock" --pid-file="$work/munged.pid" --seed-file="$work/munge.seed" \
  --log-file="$work/munged.log" >/dev/null 2>&1 & started+=($!)
cat > "$work/slurm.conf" <<CONF
ClusterName=duo
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$work/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
for _ in $(seq 50); do [ -S "$work/munge.sock" ] && break; sleep 0.1; done
slurmctld -D >/dev/null 2>&1 & started+=($!)
slurmd -D -N "$host" >/dev/null 2>&1 & started+=($!)
for _ in $(seq 100); do sinfo -h -o %t 2>/dev/null | grep -q idle && break; sleep 0.2; done
sinfo

flags=(--min-tokens 400 --max-tokens 800 --held-out-samples 2 --threads 1)
echo "== one process"
npx --no-install duo identify --model demo --method quadratic --quadratic-samples 16 --device cpu --progress none --out "$work/alone" "${flags[@]}" >/dev/null
echo "== four tasks of an array"
export MODEL=demo OUT=$work/joined SAMPLES=16 DEVICE=cpu
job=$(sbatch --parsable --gres=none --cpus-per-task=1 --output="$work/task-%a.txt" examples/slurm-array.sh "${flags[@]}")
claims() { find "$work/joined/shared" -name '*.claim' 2>/dev/null | wc -l; }
for _ in $(seq 300); do [ "$(claims)" -ge 4 ] && break; sleep 0.1; done
squeue -o "%i %t %M %R"
found() { find "$work/joined/shared" -name '*.json' 2>/dev/null | wc -l; }
echo "$(found) results of samples when task 1 is killed and task 2 is requeued"
scancel --signal=KILL --full "${job}_1"
scontrol requeue "${job}_2"
sleep 1
squeue -o "%i %t %M %R"
# a requeued task waits for two minutes at least; the other two finish the run without it
for _ in $(seq 1200); do [ "$(squeue -h -t R | wc -l)" -eq 0 ] && break; sleep 0.2; done
for name in gates.json mask.json; do cmp "$work/alone/$name" "$work/joined/$name" && echo "$name: the bytes of one process"; done
echo "== the requeued task, when Slurm starts it again"
for _ in $(seq 1000); do [ -z "$(squeue -h)" ] && break; sleep 0.2; done
grep -h "finished; its results follow\|at work on the run" "$work"/task-2.txt
for task in 0 1 2 3; do scontrol show job "${job}_$task" | grep -o "JobState=[A-Z]*\|Restarts=[0-9]*\|ExitCode=[0-9:]*" | tr '\n' ' '; echo "(task $task)"; done
