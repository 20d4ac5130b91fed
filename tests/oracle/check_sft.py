"""check_sft.py TENET [DIR] - fine-tuning on chats beside TRL's SFTTrainer: the same tiny model, conversations and batches, losses step by step.

Makes a Llama of two layers over the chatml tokenizer of tests/golden/train/masks and 40 conversations, then trains 10 steps of 4 with TRL
(assistant_only_loss with its own training template of Qwen 2.5; and with labels on what tenet trains) and with TENET: full, and LoRA. AdamW, constant rate, no
decay, clip 1. Exits 1 where losses differ by more than 1e-5.
"""
import json, os, re, subprocess, sys, tempfile

import torch
import transformers as tf
import trl
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, BATCH, LR = 10, 4, 1e-3
WORDS = "red green blue small large near far old new warm cold dry wet".split()


def talks():
    pick = lambda k: WORDS[k % len(WORDS)]
    out = []
    for i in range(STEPS * BATCH):
        t = [{"role": "system", "content": f"Be {pick(i)}."}]
        for k in range(1 + i % 3):
            t += [{"role": "user", "content": f"What is {pick(i + 3 * k)} and {pick(5 * i + k)}?"},
                  {"role": "assistant", "content": f"It is {pick(2 * i + k)}" + ", I think" * (i % 4) + "."}]
        out.append(t)
    return out


def make(folder, chats):
    tok = PreTrainedTokenizerFast.from_pretrained(f"{HERE}/../golden/train/masks/chatml")
    tok.chat_template = open(f"{os.path.dirname(trl.__file__)}/chat_templates/qwen2_5_training.jinja").read()
    tok.pad_token = tok.eos_token
    torch.manual_seed(7)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=len(tok), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                              num_key_value_heads=2, max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=False))
    model.save_pretrained(f"{folder}/base")
    tok.save_pretrained(f"{folder}/base")
    with open(f"{folder}/chats.jsonl", "w") as f:
        f.writelines(json.dumps({"messages": c}) + "\n" for c in chats)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0))
    adapted.save_pretrained(f"{folder}/adapter")


class InOrder(SFTTrainer):
    def _get_train_sampler(self, *a, **k):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def by_trl(folder, data, lora, **more):
    model = tf.AutoModelForCausalLM.from_pretrained(f"{folder}/base", dtype=torch.float32, attn_implementation="eager")
    if lora:
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, f"{folder}/adapter", is_trainable=True)
    args = SFTConfig(output_dir=f"{folder}/trl", per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=LR, lr_scheduler_type="constant",
                     adam_beta2=0.999, weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                     fp16=False, gradient_checkpointing=False, disable_tqdm=True, max_length=512, packing=False, **more)
    t = InOrder(model=model, args=args, train_dataset=data, processing_class=tf.AutoTokenizer.from_pretrained(f"{folder}/base"))
    t.train()
    return [h["loss"] for h in t.state.log_history if "loss" in h]


def by_tenet(tenet, folder, name, lora):
    config = f"{folder}/{name}.yaml"
    with open(config, "w") as f:
        f.write(f"model: {folder}/base\nchat_format: chatml\ndata: {folder}/chats.jsonl\npack: none\nshuffle: false\nn_ctx: 512\nbatch: {BATCH}\n"
                f"steps: {STEPS}\nlr: {LR}\nschedule: constant\nwarmup: 0\nbeta1: 0.9\nbeta2: 0.999\neps: 1e-8\nweight_decay: 0\nclip: 1\n"
                f"tensorboard: false\n" + (f"adapter: {folder}/adapter\n" if lora else ""))
    subprocess.run([tenet, "train", config, "--quiet", "--out", f"{folder}/{name}"], check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line)["loss"] for line in open(f"{folder}/{name}/steps.jsonl") if '"loss"' in line]


def as_tenet_trains(folder, chats):
    """TRL's ids; trained are each answer and its <|im_end|>, not the line breaks before and after it (see test_masks.c)."""
    tok = tf.AutoTokenizer.from_pretrained(f"{folder}/base")
    rows = []
    for c in chats:
        e = tok.apply_chat_template(c, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        ids, all_of_it = list(e["input_ids"]), list(e["assistant_masks"])
        mask = [m and p and before != tok.eos_token_id for m, p, before in zip(all_of_it, [0] + all_of_it, [None] + ids)]
        rows.append({"input_ids": ids, "labels": [t if m else -100 for t, m in zip(ids, mask)]})
    return Dataset.from_list(rows)


def main(tenet, folder):
    torch.set_num_threads(1)
    chats, bad = talks(), False
    make(folder, chats)
    plain = Dataset.from_list([{"messages": c} for c in chats])
    for name, lora in (("full", False), ("lora", True)):
        ours = by_tenet(tenet, folder, name, lora)
        own = by_trl(folder, plain, lora, assistant_only_loss=True)
        same = by_trl(folder, as_tenet_trains(folder, chats), lora)
        print(f"{name}: step, tenet, TRL with the same trained tokens, TRL by its template")
        for s in range(STEPS):
            far = abs(ours[s] - same[s]) / same[s]
            bad |= far > 1e-5 or len(ours) != STEPS
            print(f"{s + 1:4d}  {ours[s]:.7f}  {same[s]:.7f} ({far:.1e})  {own[s]:.7f}")
    return bad


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as d:
        sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else d))
