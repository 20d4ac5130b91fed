# tiny.sh - sourced by the scripts that train: a text, and the config of a model that learns a step of it in a few milliseconds.
#
#   tiny_begin TENET           $tenet, and an empty folder $dir with a store of its own, gone at the end
#   tiny_text LINES [FILE]     text.txt, no two lines alike
#   tiny_config [KEY=VALUE]... tiny.yaml; what is given replaces a key, or adds one
# shellcheck shell=sh

# Open MPI refuses to start anything as root without these.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM

tiny_begin() {
    tenet=$(realpath "$1")                                   # the folder changes below
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    cd "$dir" || exit 1
    export TENET_STORE="$dir/store"
}

tiny_text() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "Line %d tells of %d and of %d.\n", i, i * 7 % 100, i * 3 % 50 }' >"${2:-text.txt}"; }

tiny_config() {
    printf '%s\n' tokenizer=bytes n_layer=2 n_embd=64 n_head=4 n_ff=128 data=text.txt n_ctx=32 batch=16 micro_batch=2 group_size=1 steps=12 lr=3e-3 \
        checkpoint_every=3 tensorboard=false "$@" |
        awk -F= '!($1 in value) { key[++n] = $1 } { value[$1] = $2 } END { for (i = 1; i <= n; i++) print key[i] ": " value[key[i]] }' >tiny.yaml
}
