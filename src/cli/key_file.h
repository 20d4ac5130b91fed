/* key_file.h - where signing keys lie, and how their passphrase is had. */
#ifndef TN_CLI_KEY_FILE_H
#define TN_CLI_KEY_FILE_H

#include "cli/cli.h"
#include "provenance/provenance.h"

/* <store>/identity/NAME.pem and NAME.pub.pem. made: free both. */
tn_status tn_key_paths(const tn_common *common, const char *name, char **path, char **pub, tn_error *err);
/* From `file`, else TENET_KEY_PASSPHRASE, else asked for at the terminal (twice for a new key). made: tn_key_wipe. */
tn_status tn_key_passphrase(const char *file, const char *prompt, bool twice, char **out, tn_error *err);
void      tn_key_wipe(char *passphrase);
/* NAME of the store or path of a PEM file, opened for signing; the passphrase is had only if the file is encrypted. */
tn_status tn_key_for_signing(const tn_common *common, const char *name, const char *passphrase_file, tn_key **out, tn_error *err);

#endif
