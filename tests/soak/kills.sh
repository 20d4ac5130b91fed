#!/bin/sh
# 500 random kills and failing system calls in random recipes: the roots of an undisturbed run, nothing half-written
set -eu
TENET_KILLS=500 "$1/tests/recipe/test_kills"
