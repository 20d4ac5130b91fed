#!/bin/sh
# training under Slurm: srun with 2 and 3 ranks, a killed rank under --supervise, scancel's SIGTERM; one log of steps
#
# slurm.sh BUILD DIR. Starts a cluster of one node of its own (munged, slurmctld, slurmd on other ports than the usual) with everything it writes in
# DIR, and ends it. Needs root, and Debian's slurm-wlm and munge; installs nothing.
set -u
. "$(dirname "$0")/../train/tiny.sh"
tenet=$(realpath "$1")/tenet
cd "$2" || exit 1
TENET_STORE=$(pwd)/store
export TENET_STORE
dir=$(pwd)
for tool in srun slurmctld slurmd munged mungekey; do
    command -v $tool >/dev/null 2>&1 || [ -x /usr/sbin/$tool ] || { echo "needs $tool: apt-get install slurm-wlm munge"; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "skipped: slurmd needs root"; exit 77; }
ldd "$tenet" | grep -qE 'libmpi(ch)?\.' || { echo "skipped: this build has no MPI"; exit 77; }
PATH=$PATH:/usr/sbin
mpi=pmix
ldd "$tenet" | grep -q libmpich && mpi=pmi2

host=$(hostname -s)
mkdir -p state spool
cat >slurm.conf <<END
ClusterName=tenet
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=10
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP OverSubscribe=FORCE
END
SLURM_CONF=$dir/slurm.conf
export SLURM_CONF
stop() { for d in slurmd slurmctld munged; do [ -s $d.pid ] && kill "$(cat $d.pid)" 2>/dev/null; done; }
trap stop EXIT
mungekey --create --keyfile="$dir/munge.key" --force 2>munge.log
munged --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" \
    --seed-file="$dir/munge.seed" 2>>munge.log || { cat munge.log; exit 1; }
slurmctld -c && slurmd -c || exit 1
i=0
until sinfo -h -o %T 2>/dev/null | grep -qE 'idle|mixed'; do
    i=$((i + 1))
    [ $i -lt 60 ] || { echo "Slurm did not come up:"; tail -n 5 slurmctld.log slurmd.log; exit 1; }
    sleep 0.5
done
echo "$(srun --version) with --mpi=$mpi, $(nproc) CPUs"

tiny_text 400
tiny_config check_every=5
bad=0
"$tenet" train tiny.yaml --threads 1 --quiet --out plain >/dev/null || exit 1
same() { if cmp -s plain/steps.jsonl "$1/steps.jsonl" && [ -d "$1/model" ]; then echo "ok   $1"; else echo "FAIL $1"; tail -n 5 "$1.txt"; bad=1; fi; }
for n in 2 3; do
    srun -n $n --overcommit --mpi=$mpi "$tenet" train tiny.yaml --threads 1 --quiet --out srun-$n >srun-$n.txt 2>&1
    same srun-$n
done
# A rank is killed; the supervisor starts the job again.
TENET_FAULT=kill@5:1 "$tenet" train tiny.yaml --threads 1 --quiet --out killed --supervise --ranks 2 \
    --launch "srun -n %d --overcommit --kill-on-bad-exit --mpi=$mpi" >killed.txt 2>&1
same killed
# scancel's SIGTERM: a checkpoint, and an end; the same command goes on.
srun -n 2 --overcommit --mpi=$mpi -J stopped "$tenet" train tiny.yaml --threads 1 --quiet --out stopped --set steps=4000 --set checkpoint_every=100000 >stopped.txt 2>&1 &
pid=$!
until [ -s stopped/heartbeat-0 ] || ! kill -0 $pid 2>/dev/null; do sleep 0.1; done
scancel --signal=TERM --name=stopped
wait $pid
ls -d stopped/step-* >/dev/null 2>&1 && ! [ -d stopped/model ] && echo "ok   stopped by scancel with a checkpoint: $(basename stopped/step-*)" || { echo "FAIL stopped"; tail -n 5 stopped.txt; bad=1; }
# Without its plugin every process would train alone: refused before anything is written, by MPI itself or by us.
srun -n 2 --overcommit --mpi=none "$tenet" train tiny.yaml --threads 1 --quiet --out alone >alone.txt 2>&1
[ $? -ne 0 ] && ! [ -d alone/model ] && echo "ok   --mpi=none is refused" || { echo "FAIL alone"; tail -n 5 alone.txt; bad=1; }
exit $bad
