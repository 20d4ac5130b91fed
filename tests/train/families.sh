#!/bin/sh
# families.sh TENET - every family from scratch: trained, opened again, adapted, merged, turned into a GGUF; wrong sizes are named
set -u
. "$(dirname "$0")/tiny.sh"
tiny_begin "$1"
fail() { echo "FAIL $*"; exit 1; }
tiny_text 60
head -n 9 text.txt >short.txt
cat >base.yaml <<END
tokenizer: bytes
n_layer: 2
n_embd: 32
n_head: 2
n_ff: 48
data: text.txt
n_ctx: 48
batch: 2
steps: 2
warmup: 0
tensorboard: false
END
cat >lora.yaml <<END
model: base/model
lora_rank: 2
data: text.txt
n_ctx: 48
batch: 2
steps: 2
warmup: 0
tensorboard: false
END
sed '/^lora_rank/d' lora.yaml >own.yaml
for family in llama mistral mixtral qwen2 qwen3 qwen3moe olmo2 olmo3 gemma2 gemma3 gpt2 gptneox deepseek2 gpt-oss; do
    experts=""
    case $family in mixtral|qwen3moe|deepseek2|gpt-oss) experts="--set n_expert=4 --set n_expert_used=2" ;; esac
    rm -rf base other on lora merged base.gguf
    "$tenet" train base.yaml --quiet --set family=$family $experts --out base >/dev/null 2>err.txt || fail "$family: $(cat err.txt)"
    "$tenet" train base.yaml --quiet --set family=$family $experts --kernels ref --threads 1 --out other >/dev/null 2>err.txt || fail "$family, ref: $(cat err.txt)"
    cmp -s base/steps.jsonl other/steps.jsonl || fail "$family: other kernels, another log"
    # what a run wrote is the model that its checkpoints are of
    "$tenet" train own.yaml --quiet --set checkpoint=base --out on >/dev/null 2>err.txt || fail "$family, extended: $(cat err.txt)"
    "$tenet" train lora.yaml --quiet --out lora >/dev/null 2>err.txt || fail "$family, adapted: $(cat err.txt)"
    # "all": every linear map of a layer that an adapter can be put on, by the names that PEFT knows
    case $family in
    gpt2) maps="c_attn c_fc c_proj c_proj" ;;
    gptneox) maps="dense dense_4h_to_h dense_h_to_4h query_key_value" ;;
    mixtral|qwen3moe|gpt-oss) maps="k_proj o_proj q_proj v_proj" ;;
    deepseek2) maps="down_proj gate_proj kv_a_proj_with_mqa kv_b_proj o_proj q_proj up_proj" ;;
    *) maps="down_proj gate_proj k_proj o_proj q_proj up_proj v_proj" ;;
    esac
    found=$(grep -ao '"base_model[^"]*\.1\.[a-z0-9_.]*\.lora_A' lora/adapter/adapter_model.safetensors | sed 's/.*\.\([a-z0-9_]*\)\.lora_A/\1/' | sort | tr '\n' ' ')
    [ "$found" = "$maps " ] || fail "$family: adapters on '$found', expected '$maps '"
    "$tenet" export lora merged --merge --quiet >/dev/null 2>err.txt || fail "$family, merged: $(cat err.txt)"
    "$tenet" perplexity short.txt -m merged --quiet --json >ppl.json 2>err.txt || fail "$family, perplexity: $(cat err.txt)"
    "$tenet" convert base/model base.gguf --quiet >/dev/null 2>err.txt || fail "$family, convert: $(cat err.txt)"
    for m in base/model base.gguf; do "$tenet" perplexity short.txt -m $m --quiet --json 2>err.txt | grep -o '"nll":[^,]*' | cut -d: -f2 || fail "$family, $m: $(cat err.txt)"; done >two.txt
    # (GGUF has the rows of some families' heads in another order, so sums round otherwise)
    awk 'NR == 1 { a = $1 } NR == 2 { d = a - $1; exit !(a > 0 && d < 1e-6 * a && d > -1e-6 * a) } END { if (NR != 2) exit 1 }' two.txt || fail "$family: the GGUF computes something else: $(cat two.txt)"
done
# The biases of experts are [n_expert][n], vectors and no matrices: not rounded to bf16, not factored, not orthogonalised.
moe="--set family=gpt-oss --set n_expert=4 --set n_expert_used=2"
for optimizer in adamw muon adafactor; do
    rm -rf moe
    "$tenet" train base.yaml --quiet $moe --set dtype=bf16 --set optimizer=$optimizer --out moe >/dev/null 2>err.txt || fail "gpt-oss, bf16, $optimizer: $(cat err.txt)"
    tr -d ' \n' <moe/step-2/manifest.json >manifest.txt
    slot=$(grep -o '"name":"[^"]*"' manifest.txt | grep -n '"blk.0.ffn_gate_exps.bias"' | cut -d: -f1)
    grep -qF "[$((slot - 1)),2,0,192," manifest.txt || fail "$optimizer: a bias of experts has not a v for each of its 192 elements"
done
refused() {
    says=$1
    shift
    "$tenet" train base.yaml --quiet "$@" --out refused >/dev/null 2>err.txt && fail "accepted: $*"
    grep -q "$says" err.txt || fail "$* is refused with: $(cat err.txt)"
    [ ! -e refused ] || fail "$* leaves its folder behind"
}
refused "n_expert" --set family=mixtral
refused "no experts" --set family=llama --set n_expert=4 --set n_expert_used=2
refused "keys" --set family=gpt2 --set n_head_kv=1
refused "multiple of 8" --set family=gptneox --set n_embd=24
refused "multiple of n_head" --set n_embd=33
refused "multiple of n_head_kv" --set n_head=3 --set n_embd=48 --set n_head_kv=2
refused "unknown" --set family=lama
refused "n_layer" --set n_layer=0
echo "every family from scratch: ok"
