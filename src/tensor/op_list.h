/* op_list.h - the one list of operations: enum name, file and object name. Adding an operation is one row
 * here and one file. Part of tensor's face (tensor.h includes it). */
#ifndef TN_TENSOR_OP_LIST_H
#define TN_TENSOR_OP_LIST_H

// clang-format off
#define TN_OP_LIST(X)                                                                                       \
    X(MATMUL, matmul)             X(EMBEDDING, embedding)        X(RMSNORM, rmsnorm)                        \
    X(LAYERNORM, layernorm)       X(ROPE, rope)                  X(ATTENTION, attention)                    \
    X(ATTENTION_CACHE, attention_cache)                          X(GATED, gated)                            \
    X(UNARY, unary)               X(ADD, add)                    X(MUL, mul)                                \
    X(SCALE, scale)               X(BIAS, bias)                  X(COLS, cols)                              \
    X(CONCAT, concat)             X(ROUTER, router)              X(MOE, moe)                                \
    X(HEAD_LOSS, head_loss)       X(HEAD_LOGPROB, head_logprob)  X(DROPOUT, dropout)                        \
    X(GATHER_ROWS, gather_rows)   X(WEIGHT_NORM, weight_norm)  X(ADAPTER, adapter)           \
    X(ADAPTED, adapted)
// clang-format on

#endif
