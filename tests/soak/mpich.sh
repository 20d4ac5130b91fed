#!/bin/sh
# training under MPICH: 2, 3 and 4 ranks with ZeRO 0, 1, 2, each undisturbed and killed and finished by other ranks; one log of steps
#
# mpich.sh BUILD DIR. Builds the program against MPICH in DIR/mpich (MPICH_BUILD: a build that is there already); BUILD, with whatever MPI it has,
# gives the log to compare with and finishes some of the killed runs. Needs Debian's libmpich-dev, mpich and ninja-build; installs nothing.
set -u
. "$(dirname "$0")/../train/tiny.sh"
source=$(cd "$(dirname "$0")/../.." && pwd)
plain=$(realpath "$1")/tenet
cd "$2" || exit 1
TENET_STORE=$(pwd)/store
export TENET_STORE
launch=
for tool in mpiexec.mpich mpiexec.hydra; do command -v $tool >/dev/null 2>&1 && launch=$tool && break; done
pkg-config --exists mpich && [ -n "$launch" ] || { echo "needs MPICH: apt-get install libmpich-dev mpich"; exit 77; }
build=${MPICH_BUILD:-$(pwd)/mpich}
[ -f "$build/build.ninja" ] || meson setup "$build" "$source" -Dmpi=enabled -Dmpi_library=mpich >build.txt 2>&1 || { tail -n 20 build.txt; exit 1; }
ninja -C "$build" tenet >build.txt 2>&1 || { tail -n 20 build.txt; exit 1; }
tenet=$build/tenet
ldd "$tenet" | grep -q 'libmpich\.' || { echo "FAIL the build is not of MPICH:"; ldd "$tenet" | grep mpi; exit 1; }
echo "MPICH $(pkg-config --modversion mpich), $launch, $(nproc) CPUs"

tiny_text 400
tiny_config n_head_kv=2 valid=text.txt valid_every=4 valid_samples=4 check_every=5
bad=0 n=0
"$plain" train tiny.yaml --threads 1 --quiet --out plain >/dev/null || exit 1
want=$(cat plain/steps.jsonl plain/model/model.safetensors | sha256sum)
same() {
    n=$((n + 1))
    if [ "$(cat "$1/steps.jsonl" "$1/model/model.safetensors" 2>&1 | sha256sum)" = "$want" ]; then rm -rf "$1"; else echo "FAIL $1"; tail -n 5 "$1.txt"; bad=1; fi
}
# ranks N INTO ARGS
ranks() {
    r=$1 into=$2
    shift 2
    $launch -n "$r" "$tenet" train tiny.yaml --threads 1 --quiet --set dist=mpi --out "$into" "$@" >"$into.txt" 2>&1
}
i=0
for on in 2 3 4; do for zero in 0 1 2; do
    i=$((i + 1))
    ranks $on r$on-z$zero --set zero=$zero
    same r$on-z$zero
    # One rank is killed at some step. Other ranks go on; each third time the other build does, alone: a checkpoint knows of no MPI.
    name=r$on-z$zero-killed
    TENET_FAULT=kill@$((i * 7 % 11 + 2)):$((i % on)) ranks $on $name --set zero=$zero
    [ -d $name/model ] && { echo "FAIL $name: the kill did not happen"; bad=1; }
    if [ $((i % 3)) -eq 0 ]; then "$plain" train tiny.yaml --threads 2 --quiet --out $name >$name.txt 2>&1
    else ranks $((on % 4 + 1)) $name --set zero=$zero; fi
    same $name
done; done
echo "$n runs, $([ $bad -eq 0 ] && echo 'one log of steps and one model' || echo 'NOT one log of steps')"

# The supervisor starts the job again behind MPICH's launcher.
TENET_FAULT=kill@5:1 "$tenet" train tiny.yaml --threads 1 --quiet --out supervised --supervise --ranks 2 --launch "$launch -n %d" >supervised.txt 2>&1
same supervised
[ $bad -eq 0 ] && echo "a killed rank under --supervise: started again, the same"
# More ranks than groups (8): refused by one sentence, nothing left behind.
ranks 9 many
[ $? -ne 0 ] && ! [ -e many ] && grep -q rank many.txt || { echo "FAIL 9 ranks for 8 groups"; tail -n 5 many.txt; bad=1; }
exit $bad
