#!/bin/sh
# 1 000 random single-bit flips over all files of a release: every one found by verify
set -eu
TENET_FLIPS=1000 "$1/tests/recipe/test_release" tests/golden/families/llama
