/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json.h - writes JSON into a buffer that may be too small: like snprintf it keeps counting, so the
 * caller learns what it would have taken. Commas are put by the writer. Numbers that JSON has no
 * word for (NaN) become null. Allocates nothing; nesting is bounded by WF_JSON_DEPTH, deeper opens
 * are counted as a misuse (wf_json_end returns 0).
 */
#ifndef WF_BASE_JSON_H
#define WF_BASE_JSON_H

#include "base/util.h"

#define WF_JSON_DEPTH 32

struct wf_json {
	char *out;
	size_t cap;
	size_t len; /* that a buffer large enough would hold, without NUL */
	uint32_t depth;
	bool after_key;
	bool broken; /* closes did not match opens */
	bool has_item[WF_JSON_DEPTH];
};

/* Borrows @out until wf_json_end(). @cap may be 0 (and @out NULL): only count. */
void wf_json_begin(struct wf_json *j, char *out, size_t cap);

/* NUL-terminates (when cap > 0) and returns the length that all of it takes, without NUL; 0 after a
 * misuse. */
size_t wf_json_end(struct wf_json *j);

void wf_json_obj_open(struct wf_json *j);
void wf_json_obj_close(struct wf_json *j);
void wf_json_arr_open(struct wf_json *j);
void wf_json_arr_close(struct wf_json *j);
void wf_json_key(struct wf_json *j, const char *key);

/* Values: in an array, or after a key. NULL text becomes null. Bytes that are not UTF-8 become
 * U+FFFD. */
void wf_json_str(struct wf_json *j, const char *s);
void wf_json_str_n(struct wf_json *j, const char *s, size_t len);
void wf_json_u64(struct wf_json *j, uint64_t v);
void wf_json_i64(struct wf_json *j, int64_t v);
void wf_json_double(struct wf_json *j, double v);
void wf_json_bool(struct wf_json *j, bool v);
void wf_json_null(struct wf_json *j);

/* key and value in one */
void wf_json_kv_str(struct wf_json *j, const char *key, const char *s);
void wf_json_kv_u64(struct wf_json *j, const char *key, uint64_t v);
void wf_json_kv_i64(struct wf_json *j, const char *key, int64_t v);
void wf_json_kv_double(struct wf_json *j, const char *key, double v);
void wf_json_kv_bool(struct wf_json *j, const char *key, bool v);

#endif
