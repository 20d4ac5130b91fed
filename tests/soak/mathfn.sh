#!/bin/sh
# exp, log, tanh, erf, sin, cos, sigmoid and softplus over all 2^32 inputs: errors within bounds, vectors = scalars
set -eu
exec "$1/tests/tensor/test_tensor_mathfn" all
