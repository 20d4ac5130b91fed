"""Makes tests/golden/gguf: a small GGUF by the gguf package, and safetensors headers by the safetensors package.

  small.gguf            every metadata type, arrays, tensors of several types, general.alignment 64
  order.safetensors     tensors of many types and names: the reference writer's order and padding
"""
import os
import numpy as np
import gguf
from safetensors.numpy import save_file

out = os.path.join(os.path.dirname(__file__), "..", "golden", "gguf")
os.makedirs(out, exist_ok=True)
rng = np.random.default_rng(7)
w = gguf.GGUFWriter(os.path.join(out, "small.gguf"), "llama")
w.add_custom_alignment(64)
w.add_uint8("t.u8", 200)
w.add_int8("t.i8", -5)
w.add_uint16("t.u16", 60000)
w.add_int16("t.i16", -300)
w.add_uint32("t.u32", 4000000000)
w.add_int32("t.i32", -70000)
w.add_uint64("t.u64", 1 << 40)
w.add_int64("t.i64", -(1 << 40))
w.add_float32("t.f32", 0.25)
w.add_float64("t.f64", 1e-300)
w.add_bool("t.bool", True)
w.add_string("t.str", "grüße")
w.add_array("t.strings", ["a", "", "ccc"])
w.add_array("t.ints", [1, 2, 3])
w.add_array("t.floats", [0.5, 1.5])
w.add_tensor("a.f32", rng.standard_normal((3, 5)).astype(np.float32))
w.add_tensor("b.f16", rng.standard_normal((7,)).astype(np.float16))
for name, kind in (("c.q4_1", gguf.GGMLQuantizationType.Q4_1), ("d.q8_0", gguf.GGMLQuantizationType.Q8_0)):
    x = rng.standard_normal((2, 64)).astype(np.float32)
    w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

save_file({"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.arange(3, dtype=np.float32), "z.u8": np.arange(5, dtype=np.uint8),
           "y.i64": np.arange(2, dtype=np.int64), "x.f16": np.zeros((2, 2), np.float16), "scalar": np.array(1.5, np.float64),
           "empty": np.zeros((0, 4), np.int32), "name with \"quotes\" and ü": np.ones(1, np.int8)},
          os.path.join(out, "order.safetensors"), metadata={"format": "pt"})

# mla.gguf: tests/golden/families/deepseek-v3 with kv_b split into k_b (transposed) and v_b, as newer converters write it.
# It is made from the .gguf that tenet converts the folder to: make_gguf.py PATH-OF-THAT.gguf
import sys
if len(sys.argv) > 1:
    r = gguf.GGUFReader(sys.argv[1])
    w = gguf.GGUFWriter(os.path.join(out, "mla.gguf"), "deepseek2")
    get = lambda k: r.fields["deepseek2." + k].contents()
    H, lora, nope, dv, rope = get("attention.head_count"), get("attention.kv_lora_rank"), 0, 0, get("rope.dimension_count")
    nope, dv = get("attention.key_length") - rope, get("attention.value_length")
    for k, f in r.fields.items():
        if not k.startswith("deepseek2.") or "length" in k.split("attention.")[-1][:12] and "attention." in k:
            continue
        t = f.types[0]
        if k == "deepseek2.attention.head_count_kv":
            w.add_uint32(k, 1)
        elif t == gguf.GGUFValueType.BOOL:
            w.add_bool(k, f.contents())
        elif t == gguf.GGUFValueType.FLOAT32:
            w.add_float32(k, f.contents())
        elif t == gguf.GGUFValueType.UINT32:
            w.add_uint32(k, f.contents())
        else:
            w.add_string(k, f.contents())
    w.add_uint32("deepseek2.attention.key_length", lora + rope)
    w.add_uint32("deepseek2.attention.value_length", lora)
    w.add_uint32("deepseek2.attention.key_length_mla", nope + rope)
    w.add_uint32("deepseek2.attention.value_length_mla", dv)
    for t in r.tensors:
        x = np.array(t.data)
        if t.name.endswith("attn_kv_b.weight"):
            x = x.reshape(H, nope + dv, lora)
            w.add_tensor(t.name.replace("kv_b", "k_b"), np.ascontiguousarray(x[:, :nope].transpose(0, 2, 1)))
            w.add_tensor(t.name.replace("kv_b", "v_b"), np.ascontiguousarray(x[:, nope:]))
        else:
            w.add_tensor(t.name, x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
