#!/bin/sh
# test_tools.sh SOURCE - the checks of this repository pass on it, and fail on a planted wrong.
set -eu
cd "$1"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

# A tree of two files, with one line (\n: several) put into src/graph/a.c; check-rooms must say `want` ("" for sound).
rooms() {
    rm -rf "$tmp/src"
    mkdir -p "$tmp/src/graph" "$tmp/src/base"
    printf '/* a.c - a test. */\n%b\n' "$1" >"$tmp/src/graph/a.c"
    n=$((n + 1))
    if out=$(tools/check-rooms "$tmp/src" tools/rooms.txt 2>&1); then
        [ -z "$2" ] || { echo "check-rooms took: $1"; exit 1; }
    else
        rc=$?
        [ $rc -eq 1 ] || { echo "check-rooms on '$1' ended with $rc"; exit 1; }
        case $out in *"$2"*) ;; *) echo "check-rooms on '$1' said: $out"; exit 1 ;; esac
        [ -n "$2" ] || { echo "check-rooms refused: $1: $out"; exit 1; }
    fi
}

tools/check-rooms
rooms '#include "graph/graph.h"'        ''
rooms '#include "graph/private.h"'      ''
rooms '#include "tensor/tensor.h"'      ''
rooms '#include "base/anything.h"'      ''
rooms '#include <stdio.h>'              ''
rooms '#include "tensor/ops.h"'         'private to tensor'
rooms '#include "model/model.h"'        'graph may not include model'
rooms '  #  include "train/train.h"'    'graph may not include train'
rooms '#include "../base/err.h"'        'climbs'
rooms '#include "graph.h"'              'has no room'
rooms '#include "attic/attic.h"'        'there is no room attic'
rooms '#include <tensor/tensor.h>'      ''
rooms '#include <sys/stat.h> /* why */' ''
rooms '#include <model/model.h>'        'graph may not include model'
rooms '#include <sys/../model/model.h>' 'climbs'
rooms '#include </src/model/model.h>'   'climbs'
rooms '/* c */ #include "model/model.h"'              'a.c:2: neither'
rooms '# include /* x */ "model/model.h"'             'a.c:2: neither'
rooms '# /* x */ include "model/model.h"'             'a.c:2: neither'
rooms '#define H "model/model.h"\n#include H'         'a.c:3: neither'
rooms '%:include "model/model.h"'                     'a.c:2: neither'
rooms '\n#inc\\\nlude \\\n"model/model.h"\nint x;'    'a.c:3: graph may not include model'

mkdir "$tmp/src/attic"
echo '/* x.c - a room that nobody named. */' >"$tmp/src/attic/x.c"
if tools/check-rooms "$tmp/src" tools/rooms.txt >"$tmp/out" 2>&1; then echo "an unknown room passed"; exit 1; fi
grep -q 'src/attic: no line in rooms.txt' "$tmp/out"

sed 's/^graph: 2: base tensor/graph: 2: base tensor train/' tools/rooms.txt >"$tmp/rooms.txt"
if tools/check-rooms src "$tmp/rooms.txt" >"$tmp/out" 2>&1; then echo "a list that points up passed"; exit 1; fi
grep -q 'not below it' "$tmp/out"

# Banned functions do not compile; their neighbours do.
printf '#include <string.h>\nvoid f(char *a, const char *b);\nvoid f(char *a, const char *b) { memcpy(a, b, 1); }\n' >"$tmp/ok.c"
printf '#include <string.h>\nvoid f(char *a, const char *b);\nvoid f(char *a, const char *b) { strcpy(a, b); }\n' >"$tmp/bad.c"
${CC:-cc} -D_GNU_SOURCE -include src/base/banned.h -fsyntax-only "$tmp/ok.c"
if ${CC:-cc} -D_GNU_SOURCE -include src/base/banned.h -fsyntax-only "$tmp/bad.c" 2>"$tmp/out"; then echo "strcpy compiled"; exit 1; fi
grep -q 'poisoned' "$tmp/out"

# What banned.h cannot see in the text, check-names sees in the object; the rest of the words compile and link.
mkdir -p "$tmp/build/src/graph"
names() {
    printf '#include <stdio.h>\n#include <stdlib.h>\n%s\n' "$1" >"$tmp/planted.c"
    ${CC:-cc} -D_GNU_SOURCE -include src/base/banned.h -c "$tmp/planted.c" -o "$tmp/build/src/graph/planted.c.o"
    rm -f "$tmp/build/src/graph/libplanted.a"
    ar rc "$tmp/build/src/graph/libplanted.a" "$tmp/build/src/graph/planted.c.o"
    n=$((n + 1))
    if out=$(tools/check-names "$tmp/build" 2>&1); then
        [ -z "$2" ] || { echo "check-names took: $1"; exit 1; }
    else
        case $out in *"planted.c.o: asks for $2, "*) ;; *) echo "check-names on '$1' said: $out"; exit 1 ;; esac
    fi
}
names 'int tn_p(const char *a, int *b); int tn_p(const char *a, int *b) { return sscanf(a, "%d", b); }' ''
names 'int (*tn_p)(const char *); void tn_f(void); void tn_f(void) { tn_p = system; }' system
names 'int tn_f(void); int tn_f(void) { return (system)("ls"); }' system
printf '#undef scanf\n' >"$tmp/undef.h"
names "#include \"$tmp/undef.h\"
int tn_f(int *a); int tn_f(int *a) { return scanf(\"%d\", a); }" scanf

# ./dev installs what any of its words needs, and knows the Makefile's targets. Nothing is installed here: Debian's tools are stand-ins.
mkdir "$tmp/bin"
printf '#!/bin/sh\ncase $4 in clang*) exit 1 ;; esac\necho "install ok installed"\n' >"$tmp/bin/dpkg-query"
printf '#!/bin/sh\nexec "$@"\n' >"$tmp/bin/sudo"
for tool in apt-get make; do printf '#!/bin/sh\necho %s "$@"\n' $tool >"$tmp/bin/$tool"; done
chmod +x "$tmp/bin"/*
dev() {
    want=$1
    shift
    PATH="$tmp/bin:$PATH" ./dev "$@" >"$tmp/out" 2>&1 || { echo "./dev $*: $(cat "$tmp/out")"; exit 1; }
    [ "$(sed -n 's/^Setting up: installing *\(.*\) (by apt)$/\1/p' "$tmp/out")" = "$want" ] || { echo "./dev $*: should install '$want': $(cat "$tmp/out")"; exit 1; }
    grep -q "^make --no-print-directory ${*:-build}$" "$tmp/out" || { echo "./dev $*: make was called otherwise: $(cat "$tmp/out")"; exit 1; }
    n=$((n + 1))
}
dev ''
dev '' build JOBS=2
dev 'clang clang-format' test check
dev 'clang' clang
dev 'clang-format' -k lint format
dev 'clang clang-format' check soak
if PATH="$tmp/bin:$PATH" ./dev test nonsense >"$tmp/out" 2>&1; then echo "./dev took nonsense"; exit 1; else [ $? -eq 2 ] || { echo "./dev nonsense: another exit code"; exit 1; }; fi
grep -q "no target 'nonsense'" "$tmp/out" && grep -q './dev soak ' "$tmp/out" || { cat "$tmp/out"; exit 1; }

# The list is the one in use: every room of the source has its line.
for room in src/*/; do grep -q "^$(basename "$room"):" tools/rooms.txt; done
echo "$n planted cases judged rightly"
