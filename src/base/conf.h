/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf.h - the settings: one table with a row for each, one struct with a typed field for each, and
 * where each value came from. This file parses and checks; reading the file and the environment
 * (weft_config_new) is os/conf_load.c, because base does no I/O. All texts are inside the struct:
 * plain assignment copies it.
 *
 * Implements weft_config_set(), weft_config_get() and weft_config_free().
 */
#ifndef WF_BASE_CONF_H
#define WF_BASE_CONF_H

#include "base/util.h"
#include "weft/weft.h"

#define WF_CONF_TEXT 256 /* longest text value, with its NUL */

enum wf_conf_type {
	WF_CONF_BOOL,   /* yes/no, on/off, true/false, 1/0           -> bool */
	WF_CONF_INT,    /* 42                                        -> int64_t */
	WF_CONF_SIZE,   /* 64K, 1M, 2G (1024s), bytes                -> size_t */
	WF_CONF_TIME,   /* 3s, 100ms, 50us, 20ns, 1m, 1h; 0          -> uint64_t, nanoseconds */
	WF_CONF_STRING, /*                                           -> char[WF_CONF_TEXT] */
	WF_CONF_LIST,   /* a,b,c; blanks around commas are dropped   -> char[WF_CONF_TEXT] */
	WF_CONF_RANGE,  /* first-last, one number, or 0: any         -> struct wf_conf_ports */
	WF_CONF_LEVEL,  /* off, error, warn, info, debug, trace      -> int */
	WF_CONF_RDMA,   /* a list, see wf_conf_rdma()                -> char[WF_CONF_TEXT] */
};

enum wf_conf_origin { /* the later wins */
	WF_CONF_FROM_DEFAULT,
	WF_CONF_FROM_CALIBRATION,
	WF_CONF_FROM_FILE,
	WF_CONF_FROM_ENV,
	WF_CONF_FROM_CODE
};

struct wf_conf_ports {
	uint16_t first, last; /* both 0: the system chooses */
};

struct wf_conf_row {
	const char *key;
	enum wf_conf_type type;
	const char *unit;  /* "bytes", "time", ""; for people */
	const char *def;   /* as a user would write it */
	uint64_t min, max; /* numbers, sizes, times; both 0: not checked */
	bool pow2;         /* sizes: only powers of two */
	size_t offset;     /* of the field in struct wf_conf */
	const char *sentence;
};

#define WF_CONF_MAX_KEYS   20
#define WF_CONF_THRESHOLDS 3   /* settings that weft_calibrate() may find */
#define WF_CONF_MEASURED   160 /* longest text about how one was found, with its NUL */

struct wf_conf {
	char transports[WF_CONF_TEXT]; /* list in order of preference; empty: all */
	char avoid[WF_CONF_TEXT];
	char interfaces[WF_CONF_TEXT]; /* names and CIDRs; empty: all */
	struct wf_conf_ports listen_ports;
	uint64_t failure_detect_ns;
	uint64_t connect_timeout_ns;
	size_t limit_unexpected;
	size_t limit_shm;
	size_t eager_max_shm;
	size_t eager_max_tcp;
	uint64_t spin_ns;
	size_t stream_window;
	size_t copy_chunk;
	size_t shm_ring; /* a power of two */
	bool cma;
	char rdma[WF_CONF_TEXT];
	size_t limit_registered;
	char calibration[WF_CONF_TEXT]; /* path; empty: none */
	char fault[WF_CONF_TEXT];
	int log_level;
	uint8_t origin[WF_CONF_MAX_KEYS]; /* enum wf_conf_origin, by row */
	char measured[WF_CONF_THRESHOLDS][WF_CONF_MEASURED]; /* what the calibration says of each */
};

/* A weft_config with these settings. Gives *out. 0 or WEFT_ENOMEM (with its text). */
int wf_conf_wrap(const struct wf_conf *conf, weft_config **out);

/* The defaults, and nothing else. Cannot fail. */
void wf_conf_defaults(struct wf_conf *conf);

/* The settings of @c, or the defaults when it is NULL, into *@out. */
void wf_conf_take(struct wf_conf *out, const weft_config *c);

/* Row @i of the table into *@row_out; 0, or WEFT_EINVAL past the end. */
int wf_conf_list(size_t i, const struct wf_conf_row **row_out);

/* Key of threshold @n, a setting that can be calibrated; NULL past the end. */
const char *wf_conf_threshold(size_t n);

/* Number of the row with that key, or -1. */
int wf_conf_find(const char *key);

/* The key nearest to @key by edit distance; never NULL. */
const char *wf_conf_nearest(const char *key);

/*
 * Parses @value into the field of @key and notes the origin.
 * @where: borrowed; for the error text, such as "file x line 3" or "WEFT_SPIN"; NULL: none
 * Returns 0, or WEFT_ESETTING: unknown key (names the nearest), bad value, out of range. Nothing
 * changed then.
 */
int wf_conf_set(struct wf_conf *conf, const char *key, const char *value,
		enum wf_conf_origin origin, const char *where);

/* The value as text that wf_conf_set() would take. Length without NUL, cut at @cap like snprintf.
 * @i: a valid row. */
size_t wf_conf_format(const struct wf_conf *conf, size_t i, char *out, size_t cap);

/*
 * Is @name, WEFT_ and something, a variable that some other part of weft reads (launchers, tests)?
 * Others that are no setting are a typing error.
 */
bool wf_conf_env_is_foreign(const char *name);

/* "default", "calibrated", "file", "env", "code". */
const char *wf_conf_origin_name(enum wf_conf_origin origin);

/* Row @i's environment variable, "WEFT_" and the key in capitals, into @out; @out. */
char *wf_conf_env_name(size_t i, char *out, size_t cap);

/* Is @name among the comma-separated @list? */
bool wf_conf_list_has(const char *list, const char *name);

/*
 * Next item of a comma-separated list: returns its start and *@len_out, moves *@cursor (start: the
 * list); NULL at the end. The item is not NUL-terminated.
 */
const char *wf_conf_list_next(const char **cursor, size_t *len_out);

/* What the setting rdma says beside devices. */
struct wf_conf_rdma {
	bool cm;
	int pkey, sl, tc, mtu; /* partition, service level, traffic class, MTU of the path in bytes; -1: not said */
};

/*
 * Items device[:port[:gid]], "cm", "pkey=0x8001", "sl=3", "tc=106", "mtu=1024". 0 and what the words say, or
 * WEFT_ESETTING and in @why which item is wrong, and how.
 */
int wf_conf_rdma(const char *list, struct wf_conf_rdma *out, char *why, size_t cap);

/* An item of it: does it name a device? */
bool wf_conf_rdma_is_device(const char *item, size_t len);

/* Numbers with suffixes, see enum wf_conf_type. 0, or WEFT_ESETTING without a text (*out
 * untouched). */
int wf_parse_size(const char *text, uint64_t *out);
int wf_parse_time(const char *text, uint64_t *ns_out);

#endif
