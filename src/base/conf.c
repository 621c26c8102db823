/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf.c - the table of settings and how a text becomes a field and a field a text. The number
 * parsers and the list walker are in conf_parse.c. A new setting is one field in conf.h and one row
 * here; `make docs` does the page.
 */
#include "base/conf.h"

#include <ctype.h>
#include <stdio.h>

#include "base/conf_parse.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"

struct weft_config {
	struct wf_conf conf;
};

#define AT(field) .offset = offsetof(struct wf_conf, field)
#define KI        1024ull
#define MI        (1024ull * 1024)
#define GI        (1024ull * 1024 * 1024)
#define US        1000ull
#define MS        1000000ull
#define SEC       1000000000ull

/* clang-format off */
static const struct wf_conf_row rows[] = {
	{ "transports", WF_CONF_LIST, "names", "", 0, 0, false, AT(transports),
	  "Transports that may be used, the preferred one first; empty: all but ofi and "
	  "ucx, which must be named, in the order weft finds best." },
	{ "avoid", WF_CONF_LIST, "names", "", 0, 0, false,
	  AT(avoid), "Transports that are not used." },
	{ "interfaces", WF_CONF_LIST, "names or CIDRs", "", 0, 0, false, AT(interfaces),
	  "Network interfaces (eth0) or networks (10.0.0.0/8) that are offered to peers; "
	  "empty: all that are up." },
	{ "listen_ports", WF_CONF_RANGE, "ports", "0", 0, 65535, false, AT(listen_ports),
	  "Ports (7000-7099) from which a listener that asked for port 0 takes one; 0: the "
	  "system chooses." },
	{ "failure_detect", WF_CONF_TIME, "time", "3s", 100 * MS, 3600 * SEC, false,
	  AT(failure_detect_ns),
	  "How long a dead host or link may stay unnoticed. A dead process is noticed at once." },
	{ "connect_timeout", WF_CONF_TIME, "time", "10s", 1 * MS, 86400 * SEC, false,
	  AT(connect_timeout_ns),
	  "How long connecting may take in all before the endpoint fails, unless the call "
	  "gives a deadline." },
	{ "limit_unexpected", WF_CONF_SIZE, "bytes", "64M", 64 * KI, 1024 * GI, false,
	  AT(limit_unexpected),
	  "Memory of a worker for messages that came before their receive; at the limit "
	  "senders are held back." },
	{ "limit_shm", WF_CONF_SIZE, "bytes", "512M", 1 * MI, 1024 * GI, false, AT(limit_shm),
	  "Shared memory of a worker for rings to local peers; peers beyond it are reached "
	  "over tcp." },
	{ "eager_max_shm", WF_CONF_SIZE, "bytes", "32K", 64, 1 * MI, false, AT(eager_max_shm),
	  "Longest message that shm copies through the ring without asking the receiver first." },
	{ "eager_max_tcp", WF_CONF_SIZE, "bytes", "64K", 64, 16 * MI, false, AT(eager_max_tcp),
	  "Longest message that tcp sends without asking the receiver first." },
	{ "spin", WF_CONF_TIME, "time", "20us", 0, 1 * SEC, false, AT(spin_ns),
	  "Longest time that a wait looks for work before it sleeps, where that has been "
	  "paying off; 0: never." },
	{ "stream_window", WF_CONF_SIZE, "bytes", "1M", 4 * KI, 1 * GI, false, AT(stream_window),
	  "Bytes of a stream that may wait at the receiver before its sender is held back." },
	{ "copy_chunk", WF_CONF_SIZE, "bytes", "256K", 4 * KI, 64 * MI, false, AT(copy_chunk),
	  "Piece in which two processes share the copy of a large message." },
	{ "shm_ring", WF_CONF_SIZE, "bytes", "2M", 16 * KI, 64 * MI, true, AT(shm_ring),
	  "Ring of one direction to one local peer; a power of two. Memory is taken as it is used; "
	  "with many peers the rings of later ones are shorter, down to 256K." },
	{ "cma", WF_CONF_BOOL, "yes or no", "yes", 0, 0, false, AT(cma),
	  "Whether local peers may copy straight between their memories (process_vm_readv)." },
	{ "rdma", WF_CONF_RDMA, "devices", "", 0, 0, false, AT(rdma),
	  "RDMA devices that may be used, with port and GID index where that matters (mlx5_0, "
	  "mlx5_0:1, mlx5_0:1:3); empty: all whose address a peer's route leads to. Words among them: "
	  "cm: connections are made by rdma_cm, as over iWARP always; pkey=0x8001: the InfiniBand "
	  "partition, else the first of the port's table; sl=3: the service level, on Ethernet the "
	  "priority; tc=106: the traffic class, on RoCE DSCP times 4 and ECN; mtu=1024: the largest "
	  "packet, where both ports can do more." },
	{ "limit_registered", WF_CONF_SIZE, "bytes", "16G", 1 * MI, 1024 * GI, false, AT(limit_registered),
	  "Memory that a worker keeps registered with one RDMA device beyond the operation that "
	  "needed it." },
	{ "calibration", WF_CONF_STRING, "a path", "", 0, 0, false, AT(calibration),
	  "File of thresholds measured on this machine, as `weft calibrate` writes it; whatever "
	  "else sets one of them wins." },
	{ "fault", WF_CONF_STRING, "text", "", 0, 0, false, AT(fault),
	  "What the transport `faulty` does wrong, such as "
	  "seed=7,delay_us=50,cut=0.001,refuse=0.1." },
	{ "log", WF_CONF_LEVEL, "level", "warn", 0, 0, false, AT(log_level),
	  "Most talkative level that a log function gets: off, error, warn, info, debug, trace." },
};
/* clang-format on */

#undef AT

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes and times are stored by one function");
_Static_assert(WF_ARRAY_LEN(rows) <= WF_CONF_MAX_KEYS, "at most 20 settings");

int wf_conf_list(size_t i, const struct wf_conf_row **row_out)
{
	if (i >= WF_ARRAY_LEN(rows))
		return WEFT_EINVAL;
	*row_out = &rows[i];
	return 0;
}

const char *wf_conf_threshold(size_t n)
{
	static const char *const keys[] = { "eager_max_shm", "eager_max_tcp", "copy_chunk" };

	_Static_assert(WF_ARRAY_LEN(keys) == WF_CONF_THRESHOLDS, "a text for each");
	return n < WF_ARRAY_LEN(keys) ? keys[n] : NULL;
}

int wf_conf_find(const char *key)
{
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		if (!strcmp(rows[i].key, key))
			return (int)i;
	}
	return -1;
}

const char *wf_conf_nearest(const char *key)
{
	const char *best = rows[0].key;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		size_t d = wf_edit_distance(key, rows[i].key);

		if (d < least) {
			least = d;
			best = rows[i].key;
		}
	}
	return best;
}

/* One bad value, said in one way. */
static int bad(const char *where, const char *key, const char *value, const char *why)
{
	return wf_fail(WEFT_ESETTING, 0, where, NULL, "setting %s: \"%.60s\" %s", key, value, why);
}

static int set_number(void *field, const struct wf_conf_row *row, const char *value,
		      const char *where)
{
	char lo[24], hi[24], why[80];
	uint64_t v;
	bool is_time = row->type == WF_CONF_TIME;

	if (is_time ? wf_parse_time(value, &v) : wf_parse_size(value, &v))
		return bad(where, row->key, value,
			   is_time ? "is not a time such as 3s, 100ms or 50us" :
				     "is not a size such as 64K or 1M");
	if ((row->min || row->max) && (v < row->min || v > row->max)) {
		wf_format_number(is_time, row->min, lo, sizeof(lo));
		wf_format_number(is_time, row->max, hi, sizeof(hi));
		snprintf(why, sizeof(why), "is not within %s .. %s", lo, hi);
		return bad(where, row->key, value, why);
	}
	if (row->pow2 && !wf_is_pow2(v))
		return bad(where, row->key, value, "is not a power of two");
	memcpy(field, &v, sizeof(v));
	return 0;
}

static int set_rdma(void *field, const char *value, const char *where)
{
	char list[WF_CONF_TEXT], why[200];
	struct wf_conf_rdma words;

	if (wf_parse_list(value, list, sizeof(list)))
		return bad(where, "rdma", value, "is longer than 255 bytes");
	if (wf_conf_rdma(list, &words, why, sizeof(why)))
		return wf_fail(WEFT_ESETTING, 0, where,
			       "devices as mlx5_0, mlx5_0:1 or mlx5_0:1:3, and words as cm, "
			       "pkey=0x8001, sl=3, tc=106, mtu=1024",
			       "setting rdma: %s", why);
	memcpy(field, list, strlen(list) + 1);
	return 0;
}

static int set_field(void *field, const struct wf_conf_row *row, const char *value,
		     const char *where)
{
	int level;

	switch (row->type) {
	case WF_CONF_BOOL:
		return wf_parse_bool(value, field) ?
			       bad(where, row->key, value, "is neither yes nor no") :
			       0;
	case WF_CONF_INT:
	case WF_CONF_SIZE:
	case WF_CONF_TIME:
		return set_number(field, row, value, where);
	case WF_CONF_STRING:
		if (strlen(value) >= WF_CONF_TEXT)
			return bad(where, row->key, value, "is longer than 255 bytes");
		memcpy(field, value, strlen(value) + 1);
		return 0;
	case WF_CONF_LIST:
		return wf_parse_list(value, field, WF_CONF_TEXT) ?
			       bad(where, row->key, value, "is longer than 255 bytes") :
			       0;
	case WF_CONF_RANGE:
		return wf_parse_ports(value, field) ?
			       bad(where, row->key, value, "is not a range such as 7000-7099") :
			       0;
	case WF_CONF_LEVEL:
		level = wf_log_level_of(value);
		if (level < 0)
			return bad(where, row->key, value,
				   "is not off, error, warn, info, debug or trace");
		memcpy(field, &level, sizeof(level));
		return 0;
	case WF_CONF_RDMA:
		return set_rdma(field, value, where);
	}
	return WEFT_EINVAL;
}

int wf_conf_set(struct wf_conf *conf, const char *key, const char *value,
		enum wf_conf_origin origin, const char *where)
{
	int i = wf_conf_find(key);
	char trimmed[WF_CONF_TEXT + 1];
	char remedy[96];
	int ret;

	if (i < 0) {
		snprintf(remedy, sizeof(remedy), "did you mean \"%s\"?", wf_conf_nearest(key));
		return wf_fail(WEFT_ESETTING, 0, where, remedy, "there is no setting \"%.60s\"",
			       key);
	}
	wf_trim(value, trimmed, sizeof(trimmed)); /* cut at 256: one too long for any field */
	ret = set_field((char *)conf + rows[i].offset, &rows[i], trimmed, where);
	if (!ret)
		conf->origin[i] = (uint8_t)origin;
	return ret;
}

void wf_conf_defaults(struct wf_conf *conf)
{
	*conf = (struct wf_conf){ 0 };
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++)
		wf_conf_set(conf, rows[i].key, rows[i].def, WF_CONF_FROM_DEFAULT, NULL);
}

size_t wf_conf_format(const struct wf_conf *conf, size_t i, char *out, size_t cap)
{
	const struct wf_conf_row *row = &rows[i];
	const void *field = (const char *)conf + row->offset;
	const struct wf_conf_ports *ports = field;
	char number[24];

	switch (row->type) {
	case WF_CONF_BOOL:
		return (size_t)snprintf(out, cap, "%s", *(const bool *)field ? "yes" : "no");
	case WF_CONF_INT:
	case WF_CONF_SIZE:
	case WF_CONF_TIME:
		wf_format_number(row->type == WF_CONF_TIME, *(const uint64_t *)field, number,
				 sizeof(number));
		return (size_t)snprintf(out, cap, "%s", number);
	case WF_CONF_STRING:
	case WF_CONF_LIST:
	case WF_CONF_RDMA:
		return (size_t)snprintf(out, cap, "%s", (const char *)field);
	case WF_CONF_RANGE:
		if (ports->first == ports->last)
			return (size_t)snprintf(out, cap, "%u", ports->first);
		return (size_t)snprintf(out, cap, "%u-%u", ports->first, ports->last);
	case WF_CONF_LEVEL:
		return (size_t)snprintf(out, cap, "%s", wf_log_level_name(*(const int *)field));
	}
	return 0;
}

const char *wf_conf_origin_name(enum wf_conf_origin origin)
{
	static const char *const names[] = { "default", "calibrated", "file", "env",
					     "code" };

	return (size_t)origin < WF_ARRAY_LEN(names) ? names[origin] : "?";
}

char *wf_conf_env_name(size_t i, char *out, size_t cap)
{
	snprintf(out, cap, "WEFT_%s", rows[i].key);
	for (char *p = out; *p; p++)
		*p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
	return out;
}

bool wf_conf_env_is_foreign(const char *name)
{
	static const char *const prefixes[] = { "WEFT_MPI_", "WEFT_PY_", "WEFT_PERF_",
						"WEFT_TEST_" };

	if (!strcmp(name, "WEFT_CONFIG"))
		return true;
	for (size_t i = 0; i < WF_ARRAY_LEN(prefixes); i++) {
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	}
	return false;
}

int wf_conf_wrap(const struct wf_conf *conf, weft_config **out)
{
	weft_config *c = wf_malloc(sizeof(*c));

	if (!c)
		return wf_fail(WEFT_ENOMEM, 0, "settings", NULL, "no memory");
	c->conf = *conf;
	*out = c;
	return 0;
}

void wf_conf_take(struct wf_conf *out, const weft_config *c)
{
	if (c)
		*out = c->conf;
	else
		wf_conf_defaults(out);
}

int weft_config_set(weft_config *c, const char *key, const char *value)
{
	if (!c || !key || !value)
		return wf_fail(WEFT_ESETTING, 0, "weft_config_set", NULL, "an argument is NULL");
	return wf_conf_set(&c->conf, key, value, WF_CONF_FROM_CODE, NULL);
}

/* Key "#N": the N-th key's name. */
static int get_key(const char *number, char *value, size_t cap)
{
	uint64_t i;
	size_t len;

	if (wf_parse_size(number, &i) || i >= WF_ARRAY_LEN(rows))
		return wf_fail(WEFT_ESETTING, 0, NULL, NULL, "there is no setting number %.20s",
			       number);
	len = (size_t)snprintf(value, cap, "%s", rows[i].key);
	return len < cap ? 0 :
			   wf_fail(WEFT_EINVAL, 0, "weft_config_get", NULL,
				   "the key takes %zu bytes", len + 1);
}

int weft_config_get(const weft_config *c, const char *key, char *value, size_t cap,
		    const char **origin)
{
	size_t len;
	int i;

	if (!c || !key || (!value && cap))
		return wf_fail(WEFT_EINVAL, 0, "weft_config_get", NULL, "an argument is NULL");
	if (key[0] == '#')
		return get_key(key + 1, value, cap);
	i = wf_conf_find(key);
	if (i < 0)
		return wf_fail(WEFT_ESETTING, 0, NULL, NULL,
			       "there is no setting \"%.60s\"; the nearest is \"%s\"", key,
			       wf_conf_nearest(key));
	len = wf_conf_format(&c->conf, (size_t)i, value, cap);
	if (origin)
		*origin = wf_conf_origin_name(c->conf.origin[i]);
	return len < cap ? 0 :
			   wf_fail(WEFT_EINVAL, 0, "weft_config_get", NULL,
				   "the value takes %zu bytes", len + 1);
}

void weft_config_free(weft_config *c)
{
	wf_free(c);
}
