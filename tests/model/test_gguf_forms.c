/* test_gguf_forms.c - what a configuration becomes in GGUF's keys and tensors, and what readers make of it
 * again. */
#include "base/file.h"
#include "base/str.h"
#include "family_util.h"
#include "model/model_impl.h"
#include "model/write_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/tenet-gguf-XXXXXX";

static tn_model *open_model(const char *path)
{
    tn_model        *m;
    tn_model_options o = { .weights = true };
    assert_ok(tn_model_open(&m, path, &o, err));
    return m;
}

static char *path_of(const char *a, const char *b)
{
    char *p = tn_path(a, b);
    assert_non_null(p);
    return p;
}

/* The folder of a golden family with keys of its config.json changed; a dictionary is merged, null takes a
 * key out. */
static char *changed_copy(const char *family, const char *patch)
{
    char *from = tn_strf("tests/golden/families/%s", family), *to = tn_strf("%s/changed", dir);
    char *config = path_of(from, "config.json"), *weights = path_of(from, "model.safetensors"),
         *new_config = path_of(to, "config.json");
    char       *new_weights = path_of(to, "model.safetensors"), *text;
    json_t     *o, *p, *v;
    const char *key;

    tn_remove_tree(to, NULL);
    assert_int_equal(mkdir(to, 0700), 0);
    assert_ok(tn_json_load(&o, config, 1 << 20, err));
    assert_ok(tn_json_parse(&p, patch, strlen(patch), "patch", err));
    json_object_foreach(p, key, v) {
        if (json_is_null(v)) json_object_set(o, key, v);
        else if (json_is_object(v)) json_object_update(json_object_get(o, key), v);
        else json_object_set(o, key, v);
    }
    assert_non_null(text = tn_json_text(o));
    assert_ok(tn_file_write_all(new_config, text, strlen(text), err));
    assert_ok(tn_file_clone(weights, new_weights, false, err));
    json_decref(o);
    json_decref(p);
    char *all[] = { from, config, weights, new_config, new_weights, text };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    return to;
}

/* GGUF leaves much to what readers know of an architecture: what they would fill in wrongly must not be
 * written. */
static void what_gguf_cannot_say_is_refused(void **state)
{
    // clang-format off
    static const struct { const char *family, *patch, *named; } rows[] = {
        { "llama", "{\"hidden_act\":\"gelu\"}", "'hidden_act'" },
        { "gpt2", "{\"activation_function\":\"relu\"}", "'hidden_act'" },
        { "gptneox", "{\"hidden_act\":\"gelu_new\"}", "'hidden_act'" },
        { "gemma2", "{\"attn_logit_softcapping\":null}", "'attn_logit_softcapping'" },
        { "mistral", "{\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", "'layer_types'" },
        { "llama-yarn", "{\"rope_parameters\":{\"truncate\":false,\"original_max_position_embeddings\":4096}}", "'rope_parameters'" },
        { "gpt-oss", "{\"rope_parameters\":{\"truncate\":true,\"original_max_position_embeddings\":4096}}", "'rope_parameters'" },
        { "deepseek-v3", "{\"rope_parameters\":{\"mscale\":0.5}}", "'rope_parameters'" },
    };
    // clang-format on
    char *gguf = tn_strf("%s/refused.gguf", dir);
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char     *from = changed_copy(rows[i].family, rows[i].patch);
        tn_model *m = open_model(from);
        tn_error  said = { 0 };
        if (tn_model_write(m, gguf, TN_F32, true, NULL, &said) != TN_UNSUPPORTED)
            fail_msg("%s with %s is written", rows[i].family, rows[i].patch);
        if (strstr(said.msg, rows[i].named) == NULL)
            fail_msg("'%s' does not name %s", said.msg, rows[i].named);
        assert_false(tn_exists(gguf));
        tn_model_close(m);
        free(from);
    }
    free(gguf);
}

/* Mixes of sliding and full layers that are not the family's usual one, and a base of their own, travel in
 * GGUF's keys. */
static void other_mixes_of_layers_come_back(void **state)
{
    // clang-format off
    static const struct { const char *family, *patch; } rows[] = {
        { "gemma2", "{\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]}" },
        { "gpt-oss", "{\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]}" },
        { "olmo3", "{\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]}" },
        { "olmo3", "{\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":12345.0}}}" },
    };
    // clang-format on
    char *gguf = tn_strf("%s/mix.gguf", dir);
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char     *from = changed_copy(rows[i].family, rows[i].patch);
        tn_model *m = open_model(from), *g;
        assert_ok(tn_model_write(m, gguf, TN_F32, true, NULL, err));
        g = open_model(gguf);
        const tn_hparams *h = tn_model_hparams(m), *k = tn_model_hparams(g);
        assert_int_equal(h->window, k->window);
        assert_int_equal(h->window_pattern, k->window_pattern);
        assert_true(fabs(h->rope_theta_local - k->rope_theta_local) < 1e-3);
        tn_model_close(m);
        tn_model_close(g);
        free(from);
    }
    free(gguf);
}

/* Up to the data: n_kv pairs, and f32 matrices of these shapes, slowest first. made: tn_str_free. */
typedef struct named_shape {
    const char *name;
    int64_t     rows, cols;
} named_shape;
static tn_str gguf_head(const tn_str *kv, uint64_t n_kv, const named_shape *t, uint64_t n_tensor)
{
    tn_str   file = { .max = 1 << 16 };
    uint64_t offset = 0;
    uint32_t version = 3, n_dim = 2, type = 0;

    tn_str_add_n(&file, "GGUF", 4);
    tn_str_add_n(&file, &version, sizeof version);
    tn_str_add_n(&file, &n_tensor, sizeof n_tensor);
    tn_str_add_n(&file, &n_kv, sizeof n_kv);
    if (kv->len > 0) tn_str_add_n(&file, kv->p, kv->len);
    for (uint64_t i = 0; i < n_tensor; i++) {
        uint64_t len = strlen(t[i].name), shape[] = { (uint64_t)t[i].cols, (uint64_t)t[i].rows };
        tn_str_add_n(&file, &len, sizeof len);
        tn_str_add_n(&file, t[i].name, len);
        tn_str_add_n(&file, &n_dim, sizeof n_dim);
        tn_str_add_n(&file, shape, sizeof shape);
        tn_str_add_n(&file, &type, sizeof type);
        tn_str_add_n(&file, &offset, sizeof offset);
        offset += (4 * shape[0] * shape[1] + 31) / 32 * 32;
    }
    return file;
}

/* Metadata lie in the first file of a split model, its tensors in any. */
static void tensors_are_looked_for_in_all_files_of_a_split_model(void **state)
{
    tn_model         *m = open_model("tests/golden/families/gptneox");
    const tn_hparams *h = tn_model_hparams(m);
    named_shape       later[] = { { "token_embd.weight", h->n_vocab, h->n_embd },
                                  { "output.weight", h->n_vocab, h->n_embd } };
    tn_str            kv = { .max = 1 << 16 }, none = { 0 }, one, two;
    uint64_t          n_kv = 0;
    tn_gguf          *files[2];
    tn_hparams        back;
    (void)state;

    tn_kv_str(&kv, &n_kv, "general.architecture", "gptneox", 7);
    assert_ok(tn_kv_hparams(&kv, &n_kv, h, err));
    one = gguf_head(&kv, n_kv, NULL, 0);
    two = gguf_head(&none, 0, later, 2);
    assert_ok(tn_gguf_parse_head(&files[0], (const uint8_t *)one.p, one.len, "1.gguf", err));
    assert_ok(tn_gguf_parse_head(&files[1], (const uint8_t *)two.p, two.len, "2.gguf", err));
    assert_ok(tn_hparams_from_gguf(&back, files, 2, err));
    assert_int_equal(back.n_vocab, h->n_vocab);
    assert_false(back.tied);
    for (int i = 0; i < 2; i++) tn_gguf_close(files[i]);
    tn_str_free(&kv);
    tn_str_free(&one);
    tn_str_free(&two);
    tn_model_close(m);
}

/* llama.cpp's converter writes a list for OLMo 3, a yes or no for each layer. */
static void a_list_of_sliding_layers_is_read(void **state)
{
    // clang-format off
    static const struct { bool slides[4]; int n; int64_t pattern; } rows[] = {
        { { true, true, true, false }, 4, 4 }, { { true, false, true, false }, 4, 2 }, { { true, true, true, true }, 4, 0 },
        { { false, true, true, true }, 4, -1 }, { { true, true, true, false }, 3, -1 },
    };
    // clang-format on
    tn_model *m = open_model("tests/golden/families/olmo3");
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const tn_hparams *h = tn_model_hparams(m);
        tn_str            kv = { .max = 1 << 16 }, file;
        uint64_t          n_kv = 0;
        tn_gguf          *g;
        tn_hparams        back;
        tn_error          said = { 0 };
        tn_kv_str(&kv, &n_kv, "general.architecture", "olmo2", 5);
        assert_ok(tn_kv_hparams(&kv, &n_kv, h, err));
        tn_kv_array(&kv, &n_kv, "olmo2.attention.sliding_window_pattern", TN_GGUF_BOOL, (uint64_t)rows[i].n);
        tn_str_add_n(&kv, rows[i].slides, (size_t)rows[i].n);
        file = gguf_head(&kv, n_kv, &(named_shape){ "token_embd.weight", h->n_vocab, h->n_embd }, 1);
        assert_ok(tn_gguf_parse_head(&g, (const uint8_t *)file.p, file.len, "list.gguf", err));
        tn_status s = tn_hparams_from_gguf(&back, &g, 1, &said);
        assert_int_equal(s, rows[i].pattern >= 0 ? TN_OK : TN_UNSUPPORTED);
        if (s == TN_OK) assert_int_equal(back.window_pattern, rows[i].pattern);
        else assert_non_null(strstr(said.msg, "sliding_window_pattern"));
        tn_gguf_close(g);
        tn_str_free(&kv);
        tn_str_free(&file);
    }
    tn_model_close(m);
}

/* YaRN's factor of cos and sin, however config.json says it: readers of a GGUF multiply 'attn_factor' by 0.1
 * ln(factor) + 1. */
static void yarn_keeps_its_length_in_gguf(void **state)
{
    // clang-format off
    static const struct { const char *patch; double length; } rows[] = {
        { "{}", 1.1386294361119891 }, { "{\"rope_parameters\":{\"attention_factor\":1.3}}", 1.3 },
        { "{\"rope_parameters\":{\"mscale\":0.9,\"mscale_all_dim\":0.5}}", 1.051857300295657 }, { "{\"rope_parameters\":{\"mscale\":1.0,\"mscale_all_dim\":1.0}}", 1 },
    };
    // clang-format on
    char *gguf = tn_strf("%s/yarn.gguf", dir);
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char     *from = changed_copy("llama-yarn", rows[i].patch);
        tn_model *m = open_model(from), *g;
        tn_gguf  *head;
        double    times;
        float     a[2 * 8], b[2 * 8];
        assert_ok(tn_model_write(m, gguf, TN_F32, true, NULL, err));
        g = open_model(gguf);
        const tn_hparams *h = tn_model_hparams(m), *k = tn_model_hparams(g);
        assert_int_equal(h->d_rope, 8);
        assert_ok(tn_rope_table(a, 2, h->d_rope, h->rope_theta, &h->rope, err));
        assert_ok(tn_rope_table(b, 2, k->d_rope, k->rope_theta, &k->rope, err));
        for (int j = 0; j < 16; j++) assert_true(fabsf(a[j] - b[j]) < 1e-6f);
        assert_true(fabs((double)a[0] - rows[i].length) < 1e-6); /* position 0: cos is 1 */
        assert_ok(tn_gguf_open(&head, gguf, err));
        assert_ok(tn_gguf_real_or(head, "llama.rope.scaling.attn_factor", 1, &times, err));
        assert_true(fabs(times * 1.1386294361119891 - rows[i].length) < 1e-6);
        tn_gguf_close(head);
        tn_model_close(m);
        tn_model_close(g);
        free(from);
    }
    free(gguf);
}

/* llama.cpp does not open these without a head of their own. It is written as a copy, and is the embedding
 * again when read, unless somebody changed it. */
static void a_tied_head_is_copied_where_llama_cpp_wants_one(void **state)
{
    static const char *const families[] = { "gptneox", "olmo2", "olmo3", "gpt-oss", "llama" };
    char                    *gguf = path_of(dir, "tied.gguf");
    char                    *half = path_of(dir, "tied-bf16.gguf");
    char                    *back = path_of(dir, "tied-back");
    (void)state;

    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        char     *from = changed_copy(families[i], "{\"tie_word_embeddings\":true}"), *bytes, *embd;
        tn_model *m = open_model(from), *g;
        tn_gguf  *file;
        tn_digest d, e;
        size_t    n, at;
        assert_true(tn_model_hparams(m)->tied);
        assert_ok(tn_model_digest(m, &d, err));
        assert_ok(tn_model_write(m, gguf, TN_F32, true, NULL, err));
        tn_model_close(m);
        assert_ok(tn_gguf_open(&file, gguf, err));
        const tn_gguf_tensor *head = tn_gguf_tensor_find(file, "output.weight"),
                             *tokens = tn_gguf_tensor_find(file, "token_embd.weight");
        assert_int_equal(head != NULL, strcmp(families[i], "llama") != 0);
        if (head != NULL) {
            assert_int_equal(head->bytes, tokens->bytes);
            assert_memory_equal(head->data, tokens->data, head->bytes);
        }
        at = file->data_begin + (head != NULL ? head->offset : 0);
        tn_gguf_close(file);
        g = open_model(gguf);
        assert_true(tn_model_hparams(g)->tied);
        assert_ok(tn_model_digest(g, &e, err));
        assert_true(tn_digest_equal(&d, &e));
        assert_ok(tn_model_write(g, half, TN_BF16, false, NULL, err)); /* from one GGUF to another */
        tn_remove_tree(back, NULL);
        assert_ok(tn_model_write(g, back, TN_F32, true, NULL, err));
        tn_model_close(g);
        m = open_model(back);
        assert_true(tn_model_hparams(m)->tied);
        assert_ok(tn_model_digest(m, &e, err));
        assert_true(tn_digest_equal(&d, &e));
        tn_model_close(m);
        m = open_model(half);
        assert_true(tn_model_hparams(m)->tied);
        tn_model_close(m);
        assert_ok(tn_gguf_open(&file, half, err));
        assert_int_equal(tn_gguf_tensor_find(file, "output.weight") != NULL, head != NULL);
        tn_gguf_close(file);
        if (head != NULL) { /* somebody trained the head alone */
            assert_ok(tn_file_read_all(&bytes, &n, gguf, 1 << 24, err));
            embd = bytes + at;
            *(float *)(void *)embd += 1;
            assert_ok(tn_file_write_all(gguf, bytes, n, err));
            free(bytes);
            g = open_model(gguf);
            assert_false(tn_model_hparams(g)->tied);
            assert_non_null(tn_model_find(g, "output.weight"));
            tn_model_close(g);
        }
        free(from);
    }
    free(gguf);
    free(half);
    free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_gguf_cannot_say_is_refused),
        cmocka_unit_test(other_mixes_of_layers_come_back),
        cmocka_unit_test(tensors_are_looked_for_in_all_files_of_a_split_model),
        cmocka_unit_test(a_list_of_sliding_layers_is_read),
        cmocka_unit_test(yarn_keeps_its_length_in_gguf),
        cmocka_unit_test(a_tied_head_is_copied_where_llama_cpp_wants_one),
    };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests_name("gguf forms", tests, NULL, NULL);
    tn_remove_tree(dir, NULL);
    return failed;
}
