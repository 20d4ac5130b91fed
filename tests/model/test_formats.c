/* test_formats.c - every family from Hugging Face's form to GGUF and back: one digest, the same logits, the
 * same bytes. */
#include "base/file.h"
#include "base/hash.h"
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

static char dir[] = "/tmp/tenet-formats-XXXXXX";

static tn_model *open_model(const char *path)
{
    tn_model        *m;
    tn_model_options o = { .weights = true };
    assert_ok(tn_model_open(&m, path, &o, err));
    return m;
}

static void same_file(const char *a, const char *b)
{
    char  *x, *y;
    size_t n, k;
    assert_ok(tn_file_read_all(&x, &n, a, 1 << 26, err));
    assert_ok(tn_file_read_all(&y, &k, b, 1 << 26, err));
    if (n != k || memcmp(x, y, n) != 0) fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

static char *path_of(const char *a, const char *b)
{
    char *p = tn_path(a, b);
    assert_non_null(p);
    return p;
}

/* GGUF holds dynamic RoPE scaling nowhere; these models stay in Hugging Face's form. */
static bool fits_gguf(const char *name) { return strcmp(name, "llama-dynamic") != 0; }

/* Gemma's norms are stored as 1 + w there: what comes back was rounded. */
static void nearly_same_tensors(const char *a, const char *b)
{
    tn_st_file *x, *y;
    assert_ok(tn_st_open(&x, a, err));
    assert_ok(tn_st_open(&y, b, err));
    assert_int_equal(tn_st_count(x), tn_st_count(y));
    for (size_t i = 0; i < tn_st_count(x); i++) {
        const tn_st_entry *e = tn_st_at(x, i), *f = tn_st_at(y, i);
        assert_string_equal(e->name, f->name);
        assert_int_equal(e->end - e->begin, f->end - f->begin);
        const float *p = e->data, *q = f->data;
        for (uint64_t k = 0; k < (e->end - e->begin) / 4; k++)
            if (fabsf(p[k] - q[k]) > 1e-7f)
                fail_msg("%s: value %llu is %g, not %g", e->name, (unsigned long long)k, (double)q[k],
                         (double)p[k]);
    }
    tn_st_close(x);
    tn_st_close(y);
}

static void round_trip_keeps_everything(void **state)
{
    const family_case *c = *state;
    char *from = tn_strf("tests/golden/families/%s", c->name), *gguf = tn_strf("%s/%s.gguf", dir, c->name);
    char *again = tn_strf("%s/%s-2.gguf", dir, c->name), *back = tn_strf("%s/%s-back", dir, c->name),
         *same = tn_strf("%s/%s-same", dir, c->name);
    char *from_st = path_of(from, "model.safetensors"), *back_st = path_of(back, "model.safetensors"),
         *same_st = path_of(same, "model.safetensors");
    char *from_config = path_of(from, "config.json"), *same_config = path_of(same, "config.json"),
         *back_config = path_of(back, "config.json");
    tn_model *m = open_model(from), *g;
    tn_digest d, e;
    json_t   *x, *y;

    assert_ok(tn_model_write(m, same, TN_F32, true, NULL, err));
    same_file(from_st, same_st);
    same_file(from_config, same_config);
    if (fits_gguf(c->name)) {
        assert_ok(tn_model_digest(m, &d, err));
        assert_ok(tn_model_write(m, gguf, TN_F32, true, NULL, err));
        g = open_model(gguf);
        assert_ok(tn_model_digest(g, &e, err));
        assert_true(tn_digest_equal(&d, &e));
        assert_ok(tn_model_write(g, again, TN_F32, true, NULL, err));
        same_file(gguf, again);
        assert_ok(tn_model_write(g, back, TN_F32, true, NULL, err));
        if (strncmp(c->name, "gemma", 5) == 0) nearly_same_tensors(from_st, back_st);
        else same_file(from_st, back_st);
        assert_ok(tn_json_load(&x, from_config, 1 << 20, err));
        assert_ok(tn_json_load(&y, back_config, 1 << 20, err));
        assert_true(json_equal(x, y));
        json_decref(x);
        json_decref(y);
        tn_model_close(g);
    } else {
        assert_int_equal(tn_model_write(m, gguf, TN_F32, true, NULL, NULL), TN_UNSUPPORTED);
        assert_false(tn_exists(gguf));
    }
    tn_model_close(m);
    char *all[] = { from,    gguf,    again,       back,        same,       from_st,
                    back_st, same_st, from_config, same_config, back_config };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void trained_weights_are_written_as_they_are(void **state)
{
    char     *out = tn_strf("%s/trained", dir);
    tn_model *m = open_model("tests/golden/families/llama");
    (void)state;

    assert_ok(tn_model_to_f32(m, err));
    tn_param *p = tn_model_find(m, "blk.0.attn_q.weight");
    ((float *)p->w.data)[3] = 42.5f;
    assert_ok(tn_model_write(m, out, TN_BF16, false, NULL, err));
    tn_model_close(m);
    m = open_model(out);
    p = tn_model_find(m, "blk.0.attn_q.weight");
    assert_int_equal(p->w.dtype, TN_BF16);
    assert_true(tn_bf16_to_f32(((uint16_t *)p->w.data)[3]) == 42.5f);
    tn_model_close(m);
    /* a directory that is there is not written over */
    m = open_model("tests/golden/families/llama");
    assert_int_equal(tn_model_write(m, out, TN_F32, true, NULL, NULL), TN_USAGE);
    tn_model_close(m);
    free(out);
}

/* The same model as newer converters write it: keys' part transposed, values' part apart. */
static void split_latent_attention_is_joined(void **state)
{
    tn_model *a = open_model("tests/golden/families/deepseek-v3"),
             *b = open_model("tests/golden/gguf/mla.gguf");
    tn_digest d, e;
    (void)state;

    assert_ok(tn_model_digest(a, &d, err));
    assert_ok(tn_model_digest(b, &e, err));
    assert_true(tn_digest_equal(&d, &e));
    tn_model_close(a);
    tn_model_close(b);
}

/* In shards, and read from them again: the same digest; a copy of such a folder keeps every file. */
static void shards_hold_the_same_weights(void **state)
{
    char *out = path_of(dir, "shards"), *copy = path_of(dir, "shards-copy"),
         *whole = path_of(dir, "shards-whole");
    char *index = path_of(out, "model.safetensors.index.json"),
         *copied = path_of(copy, "model.safetensors.index.json");
    char *first = path_of(out, "model-00001-of-00002.safetensors"),
         *first_copied = path_of(copy, "model-00001-of-00002.safetensors");
    char     *one = path_of(whole, "model.safetensors");
    tn_model *m = open_model("tests/golden/families/llama"), *g;
    tn_digest d, e;
    json_t   *v;
    (void)state;

    assert_ok(tn_model_digest(m, &d, err));
    assert_ok(tn_model_write_sharded(m, out, TN_F32, true, 40000, NULL, err));
    assert_ok(tn_json_load(&v, index, 1 << 20, err));
    json_t     *map = json_object_get(v, "weight_map"), *file;
    const char *name;
    json_int_t  total = json_integer_value(json_object_get(json_object_get(v, "metadata"), "total_size")),
               sum = 0;
    json_object_foreach(map, name, file) {
        tn_st_file *st;
        char       *path = path_of(out, json_string_value(file));
        bool        here = false;
        assert_ok(tn_st_open(&st, path, err));
        for (size_t i = 0; i < tn_st_count(st); i++)
            if (strcmp(tn_st_at(st, i)->name, name) == 0) {
                here = true;
                sum += (json_int_t)(tn_st_at(st, i)->end - tn_st_at(st, i)->begin);
            }
        assert_true(here);
        tn_st_close(st);
        free(path);
    }
    assert_true(total == sum);
    json_decref(v);
    g = open_model(out);
    assert_ok(tn_model_digest(g, &e, err));
    assert_true(tn_digest_equal(&d, &e));
    assert_ok(tn_model_write(g, copy, TN_F32, true, NULL, err));
    same_file(index, copied);
    same_file(first, first_copied);
    assert_ok(tn_model_write_sharded(g, whole, TN_F32, true, 1 << 30, NULL, err));
    same_file("tests/golden/families/llama/model.safetensors", one);
    tn_model_close(g);
    assert_int_equal(unlink(first), 0); /* one shard missing is an error that names it */
    tn_error         why = { 0 };
    tn_model_options o = { .weights = true };
    assert_int_not_equal(tn_model_open(&g, out, &o, &why), TN_OK);
    assert_non_null(strstr(why.msg, "model-00001-of-0000"));
    tn_model_close(m);
    char *all[] = { out, copy, whole, index, copied, first, first_copied, one };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void has_format(const char *path, const char *name)
{
    const tn_chat *chat;
    tn_model      *m = open_model(path);

    assert_ok(tn_model_chat(m, &chat, err));
    assert_string_equal(tn_chat_format_name(chat->format), name);
    tn_model_close(m);
}

/* A model whose template is strange, opened with a format: every way out holds that format, and neither the
 * old template nor another. */
static int32_t tulu_stop(const char *path)
{
    tn_model *m = open_model(path);
    tn_chat   tulu = { .format = TN_CHAT_TULU };
    int32_t   id = tn_chat_stop(&tulu, tn_model_tokenizer(m));

    assert_true(id >= 0);
    tn_model_close(m);
    return id;
}

/* One id, or one of a list. */
static bool has_id(const json_t *v, int32_t id)
{
    if (json_is_integer(v)) return json_integer_value(v) == id;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (json_integer_value(json_array_get(v, i)) == id) return true;
    return false;
}

static void a_chosen_chat_format_is_written_into_every_form(void **state)
{
    static const char strange[] = "{% for m in messages %}<<{{ m.role }}>> {{ m.content }}{% endfor %}";
    char             *hf = tn_strf("%s/strange", dir);
    char             *config = path_of(hf, "tokenizer_config.json");
    char             *jinja = path_of(hf, "chat_template.jinja");
    const char       *to[] = { "chosen", "chosen.gguf", "again.gguf", "again", "plain.gguf" };
    char             *at[5];
    tn_model         *m = open_model("tests/golden/recipe/model");
    const tn_chat    *chat;
    tn_error          why = { 0 };
    json_t           *v;
    (void)state;

    for (int i = 0; i < 5; i++) at[i] = path_of(dir, to[i]);
    assert_ok(tn_model_write(m, hf, TN_F32, true, NULL, err));
    tn_model_close(m);
    /* wins over tokenizer_config.json's, which is zephyr's */
    assert_ok(tn_file_write_all(jinja, strange, strlen(strange), err));
    m = open_model(hf);
    assert_int_equal(tn_model_chat(m, &chat, &why), TN_UNSUPPORTED);
    assert_non_null(strstr(why.msg, "--chat-format"));
    assert_ok(tn_model_write(m, at[4], TN_F32, true, NULL, err)); /* nothing chosen: as strange as it was */
    tn_model_close(m);
    m = open_model(at[4]);
    assert_int_equal(tn_model_chat(m, &chat, NULL), TN_UNSUPPORTED);
    tn_model_close(m);

    /* folder to folder and to .gguf; the strange .gguf to .gguf and to a folder */
    for (int i = 0; i < 4; i++) {
        tn_model_options o = { .weights = true, .chat_format = "tulu" };
        tn_digest        d, e;
        assert_ok(tn_model_open(&m, i < 2 ? hf : at[4], &o, err));
        assert_ok(tn_model_write(m, at[i], TN_F32, true, NULL, err));
        assert_ok(tn_model_digest(m, &d, err));
        tn_model_close(m);
        has_format(at[i], "tulu");
        m = open_model(at[i]);
        assert_ok(tn_model_digest(m, &e, err));
        assert_true(tn_digest_equal(&d, &e)); /* the weights are the same */
        char *back = tn_strf("%s-back%s", at[i], tn_ends_with(at[i], ".gguf") ? "" : ".gguf");
        assert_ok(tn_model_write(m, back, TN_F32, true, NULL, err)); /* and it goes on with the model */
        tn_model_close(m);
        has_format(back, "tulu");
        free(back);
        if (i == 0 || i == 3) { /* other programs must stop there, too */
            char   *g = path_of(at[i], "generation_config.json");
            json_t *generation;
            assert_ok(tn_json_load(&generation, g, 1 << 20, err));
            assert_true(has_id(json_object_get(generation, "eos_token_id"), tulu_stop(at[i])));
            json_decref(generation);
            free(g);
        }
    }
    assert_ok(tn_json_load(&v, config, 1 << 20, err));
    /* the source's file is untouched */
    assert_non_null(strstr(json_string_value(json_object_get(v, "chat_template")), "<|system|>"));
    json_decref(v);
    assert_true(tn_exists(jinja));
    for (int i = 0; i < 5; i++) free(at[i]);
    free(hf);
    free(config);
    free(jinja);
}

/* Somebody else's folder must not make us wait for ever. */
static void a_pipe_is_not_waited_for(void **state)
{
    static const char *const names[] = { "config.json", "model.safetensors", "generation_config.json" };
    tn_model                *m = open_model("tests/golden/recipe/model");
    tn_model_options         o = { .weights = true };
    (void)state;

    for (int i = 0; i < 3; i++) {
        char     *hf = tn_strf("%s/pipe-%d", dir, i), *at = path_of(hf, names[i]);
        tn_error  why = { 0 };
        tn_model *other;
        assert_ok(tn_model_write(m, hf, TN_F32, true, NULL, err));
        (void)unlink(at);
        assert_int_equal(mkfifo(at, 0600), 0);
        alarm(20);
        assert_int_equal(tn_model_open(&other, hf, &o, &why), TN_IO);
        alarm(0);
        assert_non_null(strstr(why.msg, names[i]));
        assert_non_null(strstr(why.msg, "is a pipe"));
        free(hf);
        free(at);
    }
    tn_model_close(m);
}

/* Bytes of the file that lie in this process's memory. */
static size_t resident(const char *path)
{
    FILE  *f = fopen("/proc/self/smaps", "r");
    char   line[4096], mode[5];
    bool   ours = false;
    size_t sum = 0, kib;

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        /* also of memory without a file */
        if (sscanf(line, "%*x-%*x %4s", mode) == 1 && strchr("r-", mode[0]) != NULL)
            ours = strstr(line, path) != NULL;
        if (ours && sscanf(line, "Rss: %zu kB", &kib) == 1) sum += kib * 1024;
    }
    fclose(f);
    return sum;
}

/* The panels take the place of the file's rows; taking the digest afterwards must not bring the rows back for
 * good. */
static void a_packed_model_lies_in_memory_once(void **state)
{
    char            *out = path_of(dir, "large");
    tn_model        *m;
    tn_model_options o = { .weights = true, .pack = true };
    tn_digest        d, plain;
    tn_hparams       h;
    size_t           bytes;
    (void)state;

    m = open_model("tests/golden/families/llama");
    h = *tn_model_hparams(m);
    tn_model_close(m);
    h.n_vocab = 65536; /* most of the file are two matrices */
    bytes = (size_t)(h.n_vocab * h.n_embd) * 4;
    assert_ok(tn_model_create(&m, &h, NULL, 1, err));
    assert_ok(tn_model_write(m, out, TN_F32, false, NULL, err));
    tn_model_close(m);
    m = open_model(out);
    assert_ok(tn_model_digest(m, &plain, err));
    if (resident("model.safetensors") < bytes) fail_msg("this test sees no mapped file");
    tn_model_close(m);
    assert_ok(tn_model_open(&m, out, &o, err));
    assert_ok(tn_model_digest(m, &d, err));
    assert_true(tn_digest_equal(&d, &plain));
    if (resident("model.safetensors") > bytes / 2)
        fail_msg("%zu bytes of the file are still in memory", resident("model.safetensors"));
    tn_model_close(m);
    free(out);
}

static void quantising_names_what_does_not_fit(void **state)
{
    char     *out = tn_strf("%s/q.gguf", dir), *notes;
    tn_model *m = open_model("tests/golden/families/llama");
    (void)state;

    assert_ok(tn_model_write(m, out, TN_Q4_K, false, &notes, err));
    assert_non_null(strstr(notes, "blk.0.attn_q.weight"));
    free(notes);
    tn_model_close(m);
    m = open_model(out);
    /* rows of 24: no multiple of 256 */
    assert_int_not_equal(tn_model_find(m, "blk.0.attn_q.weight")->w.dtype, TN_Q4_K);
    tn_model_close(m);
    free(out);
}

int main(void)
{
    struct CMUnitTest tests[64];
    int               n = 0;

    if (mkdtemp(dir) == NULL) return 1;
    for (int i = 0; i < n_family_case; i++)
        tests[n++] = (struct CMUnitTest){ family_cases[i].name, round_trip_keeps_everything, NULL, NULL,
                                          (void *)&family_cases[i] };
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(trained_weights_are_written_as_they_are);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(split_latent_attention_is_joined);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_pipe_is_not_waited_for);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(quantising_names_what_does_not_fit);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_chosen_chat_format_is_written_into_every_form);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_packed_model_lies_in_memory_once);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(shards_hold_the_same_weights);
    int failed = _cmocka_run_group_tests("formats", tests, (size_t)n, NULL, NULL);
    tn_remove_tree(dir, NULL);
    return failed;
}
