/* onednn.c - see onednn.h. Built with TN_ONEDNN where meson found the library; else there is none. The C
 * interface of version 2, which Debian 12 has. */
#include "onednn.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef TN_ONEDNN
#include <dnnl.h>

struct onednn {
    dnnl_engine_t    engine;
    dnnl_stream_t    stream;
    dnnl_primitive_t product, reorder;
    dnnl_memory_t    a, b, packed, c;
    onednn_how       how;
};

static bool memory(dnnl_memory_t *out, const dnnl_memory_desc_t *d, dnnl_engine_t e, const void *data)
{
    return dnnl_memory_create(out, d, e, data != NULL ? (void *)(uintptr_t)data : DNNL_MEMORY_ALLOCATE) ==
           dnnl_success;
}

static bool product_make(onednn *o, int64_t m, int64_t n, int64_t k, const float *a,
                         const int64_t a_stride[2], const float *b, const int64_t b_stride[2], float *c,
                         bool add)
{
    dnnl_memory_desc_t    a_d, b_d, any_d, c_d;
    dnnl_matmul_desc_t    d;
    dnnl_primitive_desc_t p = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t       after = NULL;
    bool                  ok = false;

    const dnnl_dims_t at_a = { a_stride[0], a_stride[1] }, at_b = { b_stride[0], b_stride[1] };

    if (dnnl_memory_desc_init_by_strides(&a_d, 2, (dnnl_dims_t){ m, k }, dnnl_f32, at_a) != dnnl_success ||
        dnnl_memory_desc_init_by_strides(&b_d, 2, (dnnl_dims_t){ k, n }, dnnl_f32, at_b) != dnnl_success ||
        dnnl_memory_desc_init_by_tag(&any_d, 2, (dnnl_dims_t){ k, n }, dnnl_f32, dnnl_format_tag_any) !=
            dnnl_success ||
        dnnl_memory_desc_init_by_strides(&c_d, 2, (dnnl_dims_t){ m, n }, dnnl_f32, (dnnl_dims_t){ n, 1 }) !=
            dnnl_success ||
        dnnl_matmul_desc_init(&d, &a_d, o->how == ONEDNN_PLAIN ? &b_d : &any_d, NULL, &c_d) != dnnl_success)
        return false;
    if (dnnl_primitive_attr_create(&attr) != dnnl_success || dnnl_post_ops_create(&after) != dnnl_success)
        goto out;
    if (add && (dnnl_post_ops_append_sum(after, 1.0f) != dnnl_success ||
                dnnl_primitive_attr_set_post_ops(attr, after) != dnnl_success))
        goto out;
    if (dnnl_primitive_desc_create(&p, &d, attr, o->engine, NULL) != dnnl_success ||
        dnnl_primitive_create(&o->product, p) != dnnl_success)
        goto out;
    ok = memory(&o->a, &a_d, o->engine, a) && memory(&o->b, &b_d, o->engine, b) &&
         memory(&o->c, &c_d, o->engine, c);
    if (!ok || o->how == ONEDNN_PLAIN) goto out;
    const dnnl_memory_desc_t *own = dnnl_primitive_desc_query_md(p, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_t     r = NULL;
    ok = memory(&o->packed, own, o->engine, NULL) &&
         dnnl_reorder_primitive_desc_create(&r, &b_d, o->engine, own, o->engine, NULL) == dnnl_success &&
         dnnl_primitive_create(&o->reorder, r) == dnnl_success;
    dnnl_primitive_desc_destroy(r);
out:
    dnnl_primitive_desc_destroy(p);
    dnnl_primitive_attr_destroy(attr);
    dnnl_post_ops_destroy(after);
    return ok;
}

static void pack(onednn *o)
{
    dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, o->b }, { DNNL_ARG_TO, o->packed } };
    dnnl_primitive_execute(o->reorder, o->stream, 2, args);
}

onednn *onednn_create(int64_t m, int64_t n, int64_t k, const float *a, const int64_t a_stride[2],
                      const float *b, const int64_t b_stride[2], float *c, bool add, onednn_how how)
{
    onednn *o = calloc(1, sizeof *o);

    if (o == NULL) return NULL;
    o->how = how;
    if (dnnl_engine_create(&o->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags) != dnnl_success ||
        !product_make(o, m, n, k, a, a_stride, b, b_stride, c, add)) {
        onednn_destroy(o);
        return NULL;
    }
    if (how == ONEDNN_PACKED) pack(o);
    dnnl_stream_wait(o->stream);
    return o;
}

void onednn_run(onednn *o)
{
    dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, o->a },
                               { DNNL_ARG_WEIGHTS, o->packed != NULL ? o->packed : o->b },
                               { DNNL_ARG_DST, o->c } };

    if (o->how == ONEDNN_PACKS) pack(o);
    dnnl_primitive_execute(o->product, o->stream, 3, args);
    dnnl_stream_wait(o->stream);
}

void onednn_destroy(onednn *o)
{
    if (o == NULL) return;
    dnnl_primitive_destroy(o->product);
    dnnl_primitive_destroy(o->reorder);
    dnnl_memory_destroy(o->a);
    dnnl_memory_destroy(o->b);
    dnnl_memory_destroy(o->packed);
    dnnl_memory_destroy(o->c);
    dnnl_stream_destroy(o->stream);
    dnnl_engine_destroy(o->engine);
    free(o);
}

const char *onednn_name(void)
{
    static char           text[64];
    const dnnl_version_t *v = dnnl_version();

    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}
#else
struct onednn {
    int none;
};
onednn *onednn_create(int64_t m, int64_t n, int64_t k, const float *a, const int64_t a_stride[2],
                      const float *b, const int64_t b_stride[2], float *c, bool add, onednn_how how)
{
    (void)m, (void)n, (void)k, (void)a, (void)a_stride, (void)b, (void)b_stride, (void)c, (void)add,
        (void)how;
    return NULL;
}
void        onednn_run(onednn *o) { (void)o; }
void        onednn_destroy(onednn *o) { (void)o; }
const char *onednn_name(void) { return "not found"; }
#endif
