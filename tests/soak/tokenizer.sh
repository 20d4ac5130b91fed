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
"$dir/venv/bin/pip" install -q tokenizers==0.23.3 gguf==0.19.0 || { echo "tokenizers and gguf cannot be installed: their part is skipped"; exit 0; }
"$dir/venv/bin/python" tests/tokenizer/compare_hf.py "$build/tests/tokenizer/tokenizer_driver" "$models" "${N:-100000}" ${UDHR:+"$UDHR"}
if [ -n "${TEXT:-}" ]; then
    "$build/bench/bench_tokenizer" "$TEXT" "$models"/ggml-vocab-llama-bpe.gguf
    "$dir/venv/bin/python" tests/tokenizer/compare_hf.py "$build/tests/tokenizer/tokenizer_driver" "$models" 0 --speed "$TEXT"
fi
