/* test_config.c - config.json: unknown keys, keys that change the mathematics, both spellings of RoPE. */
#include "base/file.h"
#include "base/json.h"
#include "model/model_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define COMMON                                                                                               \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_"   \
    "key_value_heads\":2,"                                                                                   \
    "\"vocab_size\":97,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5"
#define DEEPSEEK                                                                                             \
    COMMON ",\"rope_theta\":1e4,\"kv_lora_rank\":16,\"qk_nope_head_dim\":8,\"qk_rope_head_dim\":4,\"v_head_" \
           "dim\":6,\"n_routed_experts\":4,"                                                                 \
           "\"num_experts_per_tok\":2,\"moe_intermediate_size\":8"
#define LLAMA "\"model_type\":\"llama\"," COMMON

static tn_status read_config(const char *text, tn_hparams *h, tn_error *err)
{
    json_t *o;

    assert_int_equal(tn_json_parse(&o, text, strlen(text), "config.json", err), TN_OK);
    tn_status s = tn_hparams_from_hf(h, o, "config.json", err);
    json_decref(o);
    return s;
}

static void says(const char *text, tn_status status, const char *word)
{
    tn_hparams h;
    tn_error   err = { 0 };

    assert_int_equal(read_config(text, &h, &err), status);
    if (strstr(err.msg, word) == NULL) fail_msg("'%s' does not name '%s'", err.msg, word);
}

static void unknown_and_changing_keys_are_named(void **state)
{
    (void)state;
    says("{" LLAMA ",\"rope_theta\":1e4,\"secret_scale\":2}", TN_UNSUPPORTED, "secret_scale");
    says("{" LLAMA "}", TN_FORMAT, "rope_theta");
    says("{" LLAMA ",\"rope_theta\":1e4,\"hidden_act\":\"mish\"}", TN_UNSUPPORTED, "mish");
    says("{" LLAMA ",\"rope_theta\":1e4,\"rope_scaling\":{\"rope_type\":\"su\",\"factor\":2}}",
         TN_UNSUPPORTED, "su");
    says("{" LLAMA ",\"rope_theta\":1e4,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"odd\":1}}",
         TN_UNSUPPORTED, "RoPE");
    says("{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e4},\"rope_scaling\":{"
         "\"rope_type\":\"linear\",\"factor\":2}}",
         TN_FORMAT, "'rope_scaling'");
    says("{" LLAMA ",\"rope_theta\":1e4,\"quantization_config\":{\"quant_method\":\"gptq\"}}", TN_UNSUPPORTED,
         "quantization_config");
    says("{\"model_type\":\"bert\"," COMMON "}", TN_UNSUPPORTED, "bert");
    says("{\"model_type\":\"qwen2\"," COMMON ",\"rope_theta\":1e6,\"use_sliding_window\":true}",
         TN_UNSUPPORTED, "use_sliding_window");
    says("{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_embd\":64,\"n_head\":4,\"n_positions\":8,\"vocab_size\":"
         "9,\"scale_attn_by_inverse_layer_idx\":true}",
         TN_UNSUPPORTED, "scale_attn_by_inverse_layer_idx");
    says("{\"model_type\":\"gemma3_text\"," COMMON
         ",\"rope_theta\":1e4,\"sliding_window\":8,\"attn_logit_softcapping\":3}",
         TN_UNSUPPORTED, "attn_logit_softcapping");
    says("{\"model_type\":\"deepseek_v3\"," DEEPSEEK ",\"head_dim\":8}", TN_UNSUPPORTED, "head_dim");
    says("{\"model_type\":\"deepseek_v3\"," DEEPSEEK ",\"qk_head_dim\":8}", TN_UNSUPPORTED, "qk_head_dim");
    says("{\"model_type\":\"deepseek_v2\"," DEEPSEEK ",\"norm_topk_prob\":true}", TN_UNSUPPORTED,
         "norm_topk_prob");
    says("{\"model_type\":\"gpt_oss\"," COMMON
         ",\"rope_theta\":1e4,\"sliding_window\":8,\"num_local_experts\":4,\"num_experts_per_tok\":2,"
         "\"attention_bias\":false}",
         TN_UNSUPPORTED, "attention_bias");
    says("{\"model_type\":\"llama\",\"hidden_size\":64}", TN_FORMAT, "num_hidden_layers");
    says("{\"model_type\":\"llama\",\"hidden_size\":-1,\"num_hidden_layers\":1}", TN_FORMAT, "hidden_size");
    says("{\"model_type\":\"olmo3\"," COMMON
         ",\"rope_theta\":1e4,\"sliding_window\":8,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"sliding_attention\",\"full_attention\"]}",
         TN_UNSUPPORTED, "layer_types");
}

/* Keys that published files carry beside the usual ones: taken, and refused where they say something else. */
static void what_published_files_say_besides_is_taken(void **state)
{
    // clang-format off
    static const struct { const char *text, *key; } rows[] = {
        { "{" LLAMA ",\"rope_theta\":1e5,\"is_llama_config\":true,\"rope_interleaved\":false,\"transformers.js_config\":{}}", NULL },      /* SmolLM2 */
        { "{" LLAMA ",\"rope_theta\":1e5,\"rope_interleaved\":true}", "rope_interleaved" },
        { "{" LLAMA ",\"rope_theta\":1e5,\"activation\":\"swiglu\"}", NULL },                                                             /* Falcon 3 */
        { "{" LLAMA ",\"rope_theta\":1e5,\"activation\":\"geglu\"}", "activation" },
        { "{" LLAMA ",\"rope_theta\":1e5,\"pruned_heads\":{},\"num_beams\":1,\"add_cross_attention\":false}", NULL },
        { "{" LLAMA ",\"rope_theta\":1e5,\"pruned_heads\":{\"1\":[0]}}", "pruned_heads" },
        { "{\"model_type\":\"qwen2\"," COMMON ",\"rope_theta\":1e6,\"use_mrope\":false,\"use_sliding_window\":false}", NULL },             /* Qwen 2.5 */
        { "{\"model_type\":\"qwen2\"," COMMON ",\"rope_theta\":1e6,\"use_mrope\":true}", "use_mrope" },
        { "{\"model_type\":\"gemma2\"," COMMON ",\"rope_theta\":1e4,\"sliding_window\":8,\"sliding_window_size\":8}", NULL },
        { "{\"model_type\":\"gemma2\"," COMMON ",\"rope_theta\":1e4,\"sliding_window\":8,\"sliding_window_size\":9}", "sliding_window_size" },
    };
    // clang-format on
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tn_hparams h;
        tn_error   err = { 0 };
        tn_status  s = read_config(rows[i].text, &h, &err);
        if (rows[i].key == NULL && s != TN_OK) fail_msg("%s: %s", rows[i].text, err.msg);
        if (rows[i].key != NULL && (s != TN_UNSUPPORTED || strstr(err.msg, rows[i].key) == NULL))
            fail_msg("%s: '%s' does not name %s", rows[i].text, err.msg, rows[i].key);
    }
}

static void both_spellings_of_rope_mean_the_same(void **state)
{
    tn_hparams a, b;
    tn_error   err = { 0 };
    (void)state;

    assert_int_equal(
        read_config(
            "{" LLAMA ",\"rope_theta\":5e5,\"torch_dtype\":\"bfloat16\",\"rope_scaling\":{\"type\":"
            "\"llama3\",\"factor\":8,"
            "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
            &a, &err),
        TN_OK);
    assert_int_equal(
        read_config(
            "{" LLAMA ",\"dtype\":\"bfloat16\",\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":"
            "\"llama3\",\"factor\":8,"
            "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
            &b, &err),
        TN_OK);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(a.rope.kind, TN_ROPE_LLAMA3);
    assert_true(a.rope_theta == 5e5 && a.rope.factor == 8);
}

static void windows_follow_layer_types(void **state)
{
    tn_hparams h;
    tn_error   err = { 0 };
    (void)state;

    assert_int_equal(
        read_config("{\"model_type\":\"gemma2\"," COMMON
                    ",\"head_dim\":16,\"rope_theta\":1e4,\"sliding_window\":8,\"layer_types\":"
                    "[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]}",
                    &h, &err),
        TN_OK);
    assert_int_equal(h.window, 8);
    assert_int_equal(h.window_pattern, 2);
    assert_int_equal(read_config("{\"model_type\":\"mistral\"," COMMON
                                 ",\"rope_theta\":1e4,\"sliding_window\":null}",
                                 &h, &err),
                     TN_OK);
    assert_int_equal(h.window, 0);
    assert_int_equal(read_config("{\"model_type\":\"mistral\"," COMMON
                                 ",\"rope_theta\":1e4,\"sliding_window\":16}",
                                 &h, &err),
                     TN_OK);
    assert_int_equal(h.window, 16);
    assert_int_equal(h.window_pattern, 0);
}

/* Its square root is what the model keeps, and the root's square is no whole number; transformers takes
 * nothing else. */
static void a_whole_query_scalar_is_written_as_one(void **state)
{
    tn_hparams h;
    tn_model  *m;
    tn_error   err = { 0 };
    json_t    *o;
    char       dir[] = "/tmp/tenet-config-XXXXXX";
    (void)state;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(
        read_config("{\"model_type\":\"gemma2\"," COMMON
                    ",\"head_dim\":12,\"query_pre_attn_scalar\":12,\"rope_theta\":1e4,\"sliding_window\":8,"
                    "\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_"
                    "attention\"]}",
                    &h, &err),
        TN_OK);
    if (tn_model_create(&m, &h, NULL, 0, &err) != TN_OK) fail_msg("%s", err.msg);
    char *out = tn_path(dir, "m"), *path = tn_path(dir, "m/config.json");
    if (tn_model_write(m, out, TN_F32, false, NULL, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_int_equal(tn_json_load(&o, path, 1 << 20, &err), TN_OK);
    const json_t *scalar = json_object_get(o, "query_pre_attn_scalar");
    assert_true(json_is_integer(scalar));
    assert_int_equal(json_integer_value(scalar), 12);
    json_decref(o);
    free(out);
    free(path);
    tn_model_close(m);
    assert_int_equal(tn_remove_tree(dir, &err), TN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_and_changing_keys_are_named),
        cmocka_unit_test(what_published_files_say_besides_is_taken),
        cmocka_unit_test(both_spellings_of_rope_mean_the_same),
        cmocka_unit_test(windows_follow_layer_types),
        cmocka_unit_test(a_whole_query_scalar_is_written_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
