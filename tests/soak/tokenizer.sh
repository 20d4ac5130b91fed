#!/bin/sh
# Tokenizers: llama.cpp's vocabularies with their expected ids; 100,000 random strings each against Hugging Face tokenizers
set -eu
build=$1 dir=$2
command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || { echo "no python3 with pip: skipped"; exit 77; }

cd "$(dirname "$0")/../.."
ninja -C "$build" tests/tokenizer/tokenizer_driver bench/bench_tokenizer >/dev/null
python3 -m pip download -q --no-deps --no-binary :all: -d "$dir" llama-cpp-python==0.3.36 || { echo "no package index can be reached: skipped"; exit 77; }
tar -xzf "$dir"/llama_cpp_python-0.3.36.tar.gz -C "$dir"
models=$dir/llama_cpp_python-0.3.36/vendor/llama.cpp/models
python3 tests/tokenizer/compare_llama_cpp.py "$build/tests/tokenizer/tokenizer_driver" "$models"

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q tokenizers==0.23.3 gguf==0.19.0 jinja2 || { echo "tokenizers and gguf cannot be installed: their part is skipped"; exit 0; }
"$dir/venv/bin/python" tests/tokenizer/compare_hf.py "$build/tests/tokenizer/tokenizer_driver" "$models" "${N:-100000}" ${UDHR:+"$UDHR"}
"$dir/venv/bin/python" tests/tokenizer/compare_templates.py "$build/tests/tokenizer/tokenizer_driver" tests/golden/tokenizer/bpe.json "$models"/templates/*.jinja
# llama.cpp itself, and tokenizer.json made of each GGUF, where cmake is there to build it (some minutes)
if command -v cmake >/dev/null; then
    llama=$dir/llama_cpp_python-0.3.36/vendor/llama.cpp
    cmake -S "$llama" -B "$dir/llama" -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF >"$dir/cmake.log" 2>&1
    cmake --build "$dir/llama" --target llama -j "$(nproc)" >>"$dir/cmake.log" 2>&1 || { tail "$dir/cmake.log"; exit 1; }
    ${CC:-cc} -O1 -I"$llama/include" -I"$llama/ggml/include" tests/oracle/llama_cpp_driver.c -o "$dir/llama_cpp_driver" -L"$dir/llama/bin" \
        -lllama -lggml -lggml-base -Wl,-rpath,"$dir/llama/bin"
    ninja -C "$build" tenet >/dev/null
    "$dir/venv/bin/python" tests/model/compare_vocabularies.py "$build/tenet" "$build/tests/tokenizer/tokenizer_driver" "$dir/llama_cpp_driver" \
        "$models" "${N_LLAMA:-5000}" ${UDHR:+"$UDHR"}
    # What tenet writes, opened by transformers and by llama.cpp, where a Python ($PYTHON) has the former.
    if "${PYTHON:-python3}" -c 'import torch, transformers, safetensors' 2>/dev/null; then "${PYTHON:-python3}" tests/model/compare_readers.py "$build/tenet" "$dir/llama_cpp_driver"
    else echo "${PYTHON:-python3} has no torch, transformers and safetensors: models are not opened by other readers"; fi
fi
if [ -n "${TEXT:-}" ]; then
    "$build/bench/bench_tokenizer" "$TEXT" "$models"/ggml-vocab-llama-bpe.gguf
    "$dir/venv/bin/python" tests/tokenizer/compare_hf.py "$build/tests/tokenizer/tokenizer_driver" "$models" 0 --speed "$TEXT"
fi
