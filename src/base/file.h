/* file.h - files: reading whole or mapped, writing aside-sync-rename, directories.
 * Nothing here leaves a half-written file under its final name. Every message names the path. */
#ifndef TN_BASE_FILE_H
#define TN_BASE_FILE_H

#include "base/err.h"
#include <stdio.h>

/* Refuses a named pipe: a folder from somebody else must not make us wait for a writer who never comes. */
tn_status tn_file_no_pipe(const char *path, tn_error *err);

/* A whole file, read-only, mapped. An empty file has p = "" and n = 0. */
typedef struct tn_map {
    const uint8_t *p;
    size_t         n;
    void          *os;
} tn_map;
tn_status tn_map_open(tn_map *out, const char *path, tn_error *err);
void      tn_map_close(tn_map *m);
/* Tells the kernel that [p, p+n) of the map is not needed any more (packed panels replaced it). */
void tn_map_drop(const tn_map *m, const void *p, size_t n);

/* *at: the first byte in which two files differ, the shorter one's length where it is the beginning of the
 * other; -1: the same bytes. */
tn_status tn_file_difference(int64_t *at, const char *a, const char *b, tn_error *err);

/* Whole file into memory, NUL added after the end (not counted). max_bytes guards memory. made:
 * free(*out). */
tn_status tn_file_read_all(char **out, size_t *n, const char *path, size_t max_bytes, tn_error *err);
/* Writes aside (same directory), fsyncs, renames over `path`, fsyncs the directory. */
tn_status tn_file_write_all(const char *path, const void *bytes, size_t n, tn_error *err);

/* Every byte to fd, through interrupted and short writes. *done (or NULL): how many went out; false: not all,
 * errno says why. */
bool tn_write_all(int fd, const void *bytes, size_t n, size_t *done);

/* The same, streaming. On commit the file appears whole; tn_out_abandon (or a crash) leaves nothing under
 * `path`. */
typedef struct tn_out tn_out;
tn_status             tn_out_open(tn_out **out, const char *path, tn_error *err);
tn_status             tn_out_write(tn_out *o, const void *bytes, size_t n, tn_error *err);
tn_status tn_out_printf(tn_out *o, tn_error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
tn_status tn_out_commit(tn_out *o, tn_error *err); /* frees o in every case */
void      tn_out_abandon(tn_out *o);               /* NULL is fine */

bool tn_exists(const char *path);
bool tn_is_dir(const char *path);
/* How a file is compressed, by its name or (names in a store say nothing) by its first bytes. */
typedef enum tn_packing { TN_PACKING_NONE, TN_PACKING_GZ, TN_PACKING_ZST } tn_packing;
tn_packing tn_file_packing(const char *path);
tn_status  tn_mkdirs(const char *path, tn_error *err); /* with parents; fine if it is there */
tn_status  tn_fsync_dir(const char *path, tn_error *err);
tn_status  tn_remove_tree(const char *path, tn_error *err); /* never follows symlinks; fine if absent */
tn_status  tn_rename(const char *from, const char *to, tn_error *err);
/* Copies by reflink where the file system can, else by hard link if `may_link`, else by bytes. */
tn_status tn_file_clone(const char *from, const char *to, bool may_link, tn_error *err);
/* Regular files below `dir`, relative paths with '/', sorted by bytes. A symlink or special file is an error.
 * made: free each and the array. */
tn_status tn_list_files(char ***out, size_t *n, const char *dir, tn_error *err);
/* Folders below `dir` without a file anywhere in them, which no list of files shows. made like that one. */
tn_status tn_list_bare(char ***out, size_t *n, const char *dir, tn_error *err);
void      tn_list_free(char **list, size_t n);
/* Path join; made: free. NULL if out of memory. */
char       *tn_path(const char *dir, const char *name);
const char *tn_basename(const char *path);
/* Cuts slashes off the end of a folder's path, as people and shells put them there: "a/" -> "a"; "/" stays.
 * NULL is fine. */
void tn_path_trim(char *path);
/* true if `rel` is a plain relative path: no "..", no leading '/', no empty or "." component, no control
 * bytes. */
bool tn_path_is_plain(const char *rel);
/* Reads one line of any length (without its newline) from f; false at the end. *line is grown: free it at the
 * end. */
bool tn_read_line(FILE *f, char **line, size_t *cap, size_t *len);

#endif
