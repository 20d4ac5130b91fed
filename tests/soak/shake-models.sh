#!/bin/sh
# random models: a random family, size, objective, optimiser and way of packing, trained for some steps the plain way (definitions only, one thread),
# and again with other kernels, threads, ranks, recomputation, ZeRO and kills: one log. Then answers, scores and perplexity of what came out, also
# quantised, alone and in batches, by other kernels, threads and as many orders: one text.
#
# shake-models.sh BUILD DIR. ROUNDS: models (60). SEED: which (seconds since 1970). Ranks by mpirun where it is there.
set -u
. "$(dirname "$0")/../train/tiny.sh"
tenet=$(realpath "$1")/tenet
cd "$2" || exit 1
rounds=${ROUNDS:-60} seed=${SEED:-$(date +%s)}
TENET_STORE=$(pwd)/store
export TENET_STORE
echo "seed $seed, $rounds models"
# texts, chats and pairs, of lengths from a word to more than any context
awk 'BEGIN { srand(5); for (i = 0; i < 150; i++) { s = ""; n = int(exp(rand() * 6)); for (j = 0; j < n; j++) s = s " " substr("thequickbrownfoxjumpsoverthelazydog", int(rand() * 30) + 1, 1 + int(rand() * 7));
    print "{\"text\": \"" i s "\"}" > "text.jsonl"
    print "{\"messages\": [{\"role\": \"user\", \"content\": \"what is" substr(s, 1, 80) "\"}, {\"role\": \"assistant\", \"content\": \"it is " i substr(s, 1, 120) "\"}]}" > "chat.jsonl"
    print "{\"prompt\": [{\"role\": \"user\", \"content\": \"say" substr(s, 1, 60) "\"}], \"chosen\": \"yes " i substr(s, 9, 60) "\", \"rejected\": \"no" substr(s, 3, 70) "\"}" > "pair.jsonl"
    if (i < 14) print "{\"prompt\": \"" substr(s, 1, 5 + i * i) "\", \"id\": \"" i "\"}" > "prompts.jsonl"
    if (i < 14) print "{\"context\": \"" substr(s, 1, i * 4) "\", \"continuation\": \" and " i substr(s, 1, 40) "\"}" > "score.jsonl" } }'
awk 'BEGIN { srand(6); for (i = 0; i < 300; i++) printf "line %d of %d tells %s\n", i, i * i % 71, substr("abcdefghijklmnopqrstuvwxyz", i % 20 + 1, 5) }' >plain.txt
# pick WORD... - one of them, by the seed
state=$seed
draw() { state=$(((state * 1103515245 + 12345) % 2147483648)); drawn=$((state / 65536 % $1)); }
pick() { draw $#; shift $drawn; picked=$1; }
line() { printf '%s: %s\n' "$1" "$2" >>config.yaml; }
one_of() { key=$1; shift; pick "$@"; line "$key" "$picked"; }
bad=0 refused=0 runs=0 round=0
failed() { echo "FAIL round $round: $*"; cp config.yaml "failed-$round.yaml"; bad=$((bad + 1)); }
ranks_at_most=1
command -v mpirun >/dev/null 2>&1 && ranks_at_most=4

while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    rm -rf config.yaml base plain other q.gguf
    pick llama mistral qwen2 qwen3 gemma2 gemma3 gpt2 gptneox olmo2 olmo3 mixtral qwen3moe deepseek2 gpt-oss; family=$picked
    line tokenizer bytes
    line family "$family"
    one_of n_layer 1 2 3
    pick 1 2 3 4 6; heads=$picked
    pick 4 6 8 16 20 32; width=$picked
    case $family in gptneox) pick 8 16 32; width=$picked ;; deepseek2) pick 4 8 16; width=$picked ;; esac
    line n_embd $((heads * width))
    line n_head $heads
    pick 1 $heads
    case $family in gpt2|gptneox|deepseek2) ;; *) line n_head_kv $picked ;; esac
    case $family in gpt2|gptneox|deepseek2) ;; *) draw 4; [ $drawn -ne 0 ] || one_of d_head 8 12 16 32 ;; esac
    one_of n_ff 16 33 48 96 130
    case $family in mixtral|qwen3moe|deepseek2|gpt-oss) pick 2 3 4 8; line n_expert $picked; draw $picked; line n_expert_used $((drawn + 1)) ;; esac
    one_of tied true false
    pick text.jsonl text.jsonl plain.txt chat.jsonl pair.jsonl; data=$picked
    line data $data
    case $data in
    pair.jsonl) one_of loss dpo ipo hinge kto simpo orpo rpo; line chat_format zephyr ;;
    chat.jsonl) line chat_format zephyr; one_of train_prompt true false ;;
    esac
    one_of n_ctx 64 100 160 300
    one_of pack greedy best-fit none
    one_of shuffle true false
    one_of batch 4 8 16
    one_of micro_batch 1 2
    one_of group_size 1 1 2
    one_of steps 3 4 5
    line warmup 1
    one_of optimizer adamw adamw sgd adafactor muon
    one_of schedule constant linear cosine wsd
    one_of lr 1e-3 1e-2
    one_of weight_decay 0 0.1
    one_of clip 0 1
    draw 3; [ $drawn -ne 0 ] || {                   # adapters need a model first
        "$tenet" train config.yaml --quiet --set steps=1 --set loss=sft --set data=plain.txt --set format=text --out base >/dev/null 2>err.txt && {
            grep -vE '^(tokenizer|family|n_layer|n_embd|n_head|n_head_kv|d_head|n_ff|n_expert|n_expert_used|tied):' config.yaml >c2.yaml
            mv c2.yaml config.yaml
            line model base/model
            one_of lora_rank 1 4 17; one_of dora true false; one_of lora_rs true false; one_of lora_targets all all q,v; one_of lora_layers all upper
        }
    }
    draw 3; [ $drawn -ne 0 ] || grep -q lora config.yaml || { line dtype bf16; one_of stochastic_rounding true false; }
    draw 3; [ $drawn -ne 0 ] || line z_loss 1e-3
    line seed $round
    line checkpoint_every 2
    line tensorboard false
    line check_every 2
    if ! "$tenet" train config.yaml --quiet --kernels ref --threads 1 --out plain >/dev/null 2>err.txt; then
        refused=$((refused + 1))
        grep -q '[a-z]' err.txt || failed "refused without a word"
        if "$tenet" train config.yaml --quiet --out other >/dev/null 2>&1; then failed "refused with ref, not with auto: $(cat err.txt)"; fi
        [ "${VERBOSE:-}" = "" ] || { echo "refused: $(cat err.txt)"; cp config.yaml "refused-$round.yaml"; }
        continue
    fi
    want=$(sha256sum <plain/steps.jsonl)
    for way in 1 2 3; do
        rm -rf other
        pick auto auto avx512 avx2; kernels=$picked
        draw 5; threads=$((drawn + 1))
        pick true false; recompute=$picked
        draw 3; zero=$drawn
        grep -qE 'muon|adafactor' config.yaml && [ $zero -eq 2 ] && zero=1      # these need whole matrices
        draw $ranks_at_most; ranks=$((drawn + 1))
        draw 4; kill=$drawn
        [ $ranks -eq 1 ] && run="" || run="mpirun --oversubscribe -n $ranks"
        set -- train config.yaml --quiet --kernels $kernels --threads $threads --set recompute=$recompute --set zero=$zero --out other
        [ $ranks -eq 1 ] || set -- "$@" --set dist=mpi
        [ $kill -eq 0 ] || TENET_FAULT=kill@$kill:0 $run "$tenet" "$@" >/dev/null 2>&1
        runs=$((runs + 1))
        if ! $run "$tenet" "$@" >/dev/null 2>err.txt; then
            grep -q 'ranks' err.txt && [ $ranks -gt 1 ] && continue     # more ranks than groups
            failed "$*: $(grep -v "^---\|^$" err.txt | head -n 3)"
            continue
        fi
        [ "$(sha256sum <other/steps.jsonl)" = "$want" ] || failed "$family $kernels, $threads threads, $ranks ranks, recompute $recompute, zero $zero, kill $kill: another log"
    done
    model=plain/model
    if [ ! -d $model ]; then
        "$tenet" export plain plain/merged --merge --quiet >/dev/null 2>err.txt && model=plain/merged || { failed "export: $(tail -n 1 err.txt)"; continue; }
    fi
    pick none q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q6_k; type=$picked
    if [ $type != none ]; then
        "$tenet" quantize $model q.gguf $type --quiet >/dev/null 2>err.txt && model=q.gguf || { grep -q . err.txt || failed "quantize $type without a word"; }
    fi
    pick strict strict q8act strict-bf16; profile=$picked
    pick f32 f32 bf16 q8_0; kv=$picked
    pick 0 0 0.8; t=$picked
    set -- --model $model --profile $profile --kv-type $kv --json --quiet
    if ! "$tenet" generate "$@" -f prompts.jsonl -n 12 -t $t --kernels ref --threads 1 --batch 1 >want.txt 2>err.txt; then
        grep -q 'q8_0\|context\|long' err.txt || failed "generate $*: $(tail -n 1 err.txt)"
        continue
    fi
    "$tenet" score "$@" -f score.jsonl --kernels ref --threads 1 --batch 1 >want2.txt 2>err.txt
    for way in 1 2 3; do
        pick auto auto avx512 avx2; kernels=$picked
        draw 5; threads=$((drawn + 1))
        pick 2 3 5 8 14; batch=$picked
        runs=$((runs + 1))
        "$tenet" generate "$@" -f prompts.jsonl -n 12 -t $t --kernels $kernels --threads $threads --batch $batch >got.txt 2>err.txt
        "$tenet" score "$@" -f score.jsonl --kernels $kernels --threads $threads --batch $batch >got2.txt 2>>err.txt
        for f in got want got2 want2; do sed 's/"[a-z_]*\(seconds\|_s\|per_second\|tok_s\)": *[0-9.e+-]*//g' $f.txt >$f.cmp; done
        cmp -s got.cmp want.cmp || failed "$family $type $profile $kv $kernels, $threads threads, batch $batch: other answers"
        cmp -s got2.cmp want2.cmp || failed "$family $type $profile $kv $kernels, $threads threads, batch $batch: other scores"
    done
done
echo "$rounds models, $refused refused with a reason, $runs runs compared, $bad failed"
[ $bad -eq 0 ] && [ $refused -lt "$rounds" ]
