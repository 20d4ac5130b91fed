#!/usr/bin/env python3
"""Digests of quantised rows for tests/golden/tensor/quantize.txt.

Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 come from the `gguf` package; Q4_K, Q5_K, Q6_K from ggml's reference quantisers, built with
-ffp-contract=off into a shared library:

    gcc -O2 -fPIC -ffp-contract=off -Iggml/include -Iggml/src -c ggml/src/ggml-quants.c
    printf 'void ggml_abort(void){} long ggml_row_size(void){return 0;} \\
            char *ggml_type_name(void){return 0;} long ggml_type_size(void){return 0;}' | gcc -fPIC -xc -c - -o rest.o
    gcc -shared -o libggmlq.so ggml-quants.o rest.o -lm

    make_quantize.py libggmlq.so > tests/golden/tensor/quantize.txt

The inputs are made by an integer generator that the test repeats, so that they are the same floats everywhere."""
import ctypes
import hashlib
import sys

import gguf
import numpy as np

N = 256 * 64
SIZES = {"q4_k": 144, "q5_k": 176, "q6_k": 210}


def inputs(kind):
    """N floats: integers of 24 bits, scaled by powers of two, some zeroed, per kind."""
    state, out = kind + 1, np.empty(N, np.float32)
    for i in range(N):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        r = state >> 32
        v = np.float32((r >> 8) - 2**23) * np.float32(2.0**-23)
        if kind == 1:
            v = v * np.float32(2.0 ** -(r % 16))
        elif kind == 2:
            v = np.float32(0) if i // 32 % 3 == 0 else v * np.float32(2.0**-12)
        elif kind == 3:
            v = abs(v) + np.float32(1)
        out[i] = v
    return out


def main():
    ggml = ctypes.CDLL(sys.argv[1])
    print("# dtype kind SHA-256 of the bytes of 16384 quantised values; made by tests/oracle/make_quantize.py")
    for kind in range(4):
        x = inputs(kind)
        for name in ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1"):
            data = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()]).tobytes()
            print(name, kind, hashlib.sha256(data).hexdigest())
        for name, size in SIZES.items():
            data = ctypes.create_string_buffer(N // 256 * size)
            call = getattr(ggml, "quantize_row_" + name.replace("k", "K") + "_ref")
            call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
            call(x.ctypes.data, ctypes.addressof(data), N)
            print(name, kind, hashlib.sha256(data.raw).hexdigest())


main()
