/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_see.c - what can be seen from outside: explain, stats, trace, log, texts; and the bound on memory for messages that
 * nobody expects.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conform/conform.h"

/* The whole text, asked for as the header says. */
static char *explain(weft_ctx *ctx, weft_ep *ep, const char *url, int json)
{
	size_t len = 0;
	char *text;

	assert_int_equal(weft_explain(ctx, ep, url, json, NULL, &len), WEFT_EINVAL);
	len += 1000; /* counters in it may grow */
	text = malloc(len);
	assert_int_equal(weft_explain(ctx, ep, url, json, text, &len), WEFT_OK);
	assert_int_equal(strlen(text), len);
	return text;
}

static void assert_json(const char *text)
{
	size_t at = wt_json_fault(text);

	if (at != SIZE_MAX || text[0] != '{')
		fail_msg("not one JSON object, from \"%.60s\" on", text + (at == SIZE_MAX ? 0 : at));
}

/* The number behind the first "key": at or after *at, which moves behind it; @none when there is no more, or it is null. */
static uint64_t number_after(const char **at, const char *key, uint64_t none)
{
	char quoted[40];
	const char *found;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	found = *at ? strstr(*at, quoted) : NULL;
	*at = found ? found + strlen(quoted) : NULL;
	return found && **at >= '0' && **at <= '9' ? strtoull(*at, NULL, 10) : none;
}

static uint64_t counted(struct wt_pair *p, const char *key)
{
	char text[8192];
	const char *at = text;
	size_t len = sizeof(text);

	assert_int_equal(weft_stats(p->ctx, p->ep[0], text, &len), WEFT_OK);
	return number_after(&at, key, UINT64_MAX);
}

/* Sends @len bytes of @mem (NULL: from malloc) and says how they went. */
static void goes_as(struct wt_pair *p, weft_mem *mem, void *bytes, size_t len, bool eager)
{
	uint64_t before_eager = counted(p, "eager"), before_rndv = counted(p, "rendezvous");
	unsigned char *in = malloc(len + 1);
	weft_buf b = { .addr = bytes, .len = len, .mem = mem };
	weft_call c = wt_call(0);
	struct wt_posted sent;

	wt_fill(bytes, len, 3);
	sent = wt_took(p->w[0], weft_send(p->ep[0], &b, 1, 9, &c), &c);
	wt_ok(p->w[1], wt_recv(p, 1, in, len, 9, WT_EXACT));
	wt_ok(p->w[0], sent);
	wt_assert_data(in, len, 3);
	free(in);
	assert_int_equal(counted(p, "eager") - before_eager, eager);
	assert_int_equal(counted(p, "rendezvous") - before_rndv, !eager);
}

static void the_plan_is_what_happens(void **state)
{
	const size_t more = 70000;
	struct wt_pair p;
	const char *at, *row;
	unsigned rows = 0;
	char *text;

	(void)state;
	wt_pair_open(&p, 0);
	text = explain(p.ctx, p.ep[0], NULL, 1);
	for (at = strstr(text, "\"plan\":["); at && strstr(at, "\"from\":"); rows++) {
		size_t from = number_after(&at, "from", 0), to = number_after(&at, "to", from + more);
		bool allocated = !strncmp(at, "null,\"memory\":[\"weft_mem_alloc\"]", 32), in_slot, eager;
		void *own = malloc(to + 1);
		weft_mem *mem = NULL;

		row = strchr(at, '}');
		at = strstr(at, "\"protocol\":\"");
		assert_true(at && at < row);
		in_slot = !strncmp(at, "\"protocol\":\"inline\"", 19);
		eager = in_slot || !strncmp(at, "\"protocol\":\"eager\"", 18);
		assert_int_equal(in_slot, (wt_is("shm") || wt_is("verbs")) && !rows); /* test_shm.c knows that it is so */
		if (allocated)
			assert_int_equal(weft_mem_alloc(p.ctx, to, WEFT_HOST, -1, &mem), WEFT_OK);
		goes_as(&p, mem, mem ? weft_mem_addr(mem, NULL) : own, from, eager);
		goes_as(&p, mem, mem ? weft_mem_addr(mem, NULL) : own, to, eager);
		assert_int_equal(weft_mem_free(mem), WEFT_OK);
		free(own);
	}
	assert_int_equal(rows, wt_is("shm") ? 4 : wt_is("verbs") ? 3 : 2);
	free(text);
	wt_pair_close(&p);
}

/* Every transport but the one that carries the messages, each with a reason. */
static void paths_that_are_not_used_say_why(void **state)
{
	static const char *const names[] = { "loop", "shm", "verbs", "ofi", "ucx", "tcp" };
	struct wt_pair p;
	char *text, *json, want[60];
	weft_config *c;
	weft_ctx *ctx;

	(void)state;
	wt_pair_open(&p, 0);
	text = explain(p.ctx, p.ep[0], NULL, 0);
	json = explain(p.ctx, p.ep[0], NULL, 1);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(want, sizeof(want), "not used: %s: ", names[i]);
		assert_int_equal(strstr(text, want) != NULL, strcmp(names[i], wt_variant->transport) != 0);
		snprintf(want, sizeof(want), "{\"name\":\"%s\",\"why\":\"", names[i]);
		assert_int_equal(strstr(json, want) != NULL, strcmp(names[i], wt_variant->transport) != 0);
		strcat(want, "\"");
		assert_null(strstr(json, want)); /* no reason is none */
	}
	free(text);
	free(json);
	wt_pair_close(&p);
	assert_int_equal(weft_config_new(&c), WEFT_OK);
	assert_int_equal(weft_config_set(c, "transports", wt_variant->by ? wt_variant->transport : "loop,shm,verbs,tcp"), WEFT_OK); /* also one that this machine lacks */
	assert_int_equal(weft_config_set(c, "avoid", wt_variant->transport), WEFT_OK);
	assert_int_equal(weft_open(c, &ctx), WEFT_OK);
	weft_config_free(c);
	text = explain(ctx, NULL, NULL, 0);
	snprintf(want, sizeof(want), "the setting avoid = %s (code)", wt_variant->transport);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(text, "the program sets it"));
	free(text);
	assert_int_equal(weft_close(ctx), WEFT_OK);
}

static void explain_names_the_path(void **state)
{
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 300000, 1);
	for (int json = 0; json < 2; json++) {
		char *text[3] = { explain(p.ctx, p.ep[0], NULL, json), explain(p.ctx, NULL, NULL, json),
				  explain(p.ctx, NULL, p.url, json) };

		for (int i = 0; i < 3; i++) {
			if (json)
				assert_json(text[i]);
			assert_non_null(strstr(text[i], wt_variant->transport));
		}
		assert_non_null(strstr(text[1], "connect_timeout")); /* the settings */
		for (int i = 0; i < 3; i++)
			free(text[i]);
	}
	assert_int_equal(weft_explain(p.ctx, NULL, "nonsense", 0, NULL, &(size_t){ 0 }), WEFT_EURL);
	wt_pair_close(&p);
}

static uint64_t stat_of(weft_ctx *ctx, const void *what, const char *name)
{
	char text[8192], key[40];
	size_t len = 2;
	const char *at;

	assert_int_equal(weft_stats(ctx, what, text, &len), WEFT_EINVAL);
	assert_true(len > 2 && len < sizeof(text));
	len = sizeof(text);
	assert_int_equal(weft_stats(ctx, what, text, &len), WEFT_OK);
	assert_int_equal(strlen(text), len);
	assert_json(text);
	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(text, key);
	assert_non_null(at);
	return strtoull(at + strlen(key), NULL, 10);
}

static void stats_are_counted(void **state)
{
	const void *what[3];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 100, 1);
	wt_exchange(&p, 0, 1000000, 2);
	what[0] = p.ep[0];
	what[1] = p.w[0]->w;
	what[2] = NULL;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stat_of(p.ctx, what[i], "messages_sent"), 2);
		assert_int_equal(stat_of(p.ctx, what[i], "messages_received"), i < 2 ? 0 : 2);
		assert_int_equal(stat_of(p.ctx, what[i], "eager"), 1);
		assert_int_equal(stat_of(p.ctx, what[i], "rendezvous"), 1);
		assert_true(stat_of(p.ctx, what[i], "frames_sent") >= 2);
		assert_true(stat_of(p.ctx, what[i], "bytes_sent") >= 100);
	}
	assert_true(stat_of(p.ctx, p.w[0]->w, "operations") >= 2);
	assert_int_equal(stat_of(p.ctx, NULL, "endpoints"), 2);
	wt_ep_close(p.w[0], p.ep[0]);
	wt_ep_close(p.w[1], p.ep[1]);
	p.ep[0] = p.ep[1] = NULL;
	wt_pump_ms(5);
	assert_int_equal(stat_of(p.ctx, NULL, "endpoints"), 0);
	for (int i = 1; i < 3; i++) { /* what was counted stays */
		assert_int_equal(stat_of(p.ctx, what[i], "messages_sent"), 2);
		assert_int_equal(stat_of(p.ctx, what[i], "messages_received"), i < 2 ? 0 : 2);
		assert_true(stat_of(p.ctx, what[i], "bytes_sent") >= 100);
	}
	wt_pair_close(&p);
}

/* The number that explain gives for the lane of messages. */
static unsigned long path_of(weft_ctx *ctx, weft_ep *ep)
{
	char *text = explain(ctx, ep, NULL, 1);
	const char *at = strstr(text, "\"path\":");
	unsigned long path;

	assert_non_null(at);
	path = strtoul(at + strlen("\"path\":"), NULL, 10);
	free(text);
	return path;
}

static void events_say_which_path_carried_them(void **state)
{
	static char out[100], big[1000000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_send(&p, 0, out, sizeof(out), 1, WEFT_NO_EVENT);
	wt_send(&p, 0, big, sizeof(big), 2, WEFT_NO_EVENT);
	assert_true(path_of(p.ctx, p.ep[1]) > 0);
	assert_int_equal(wt_ok(p.w[1], wt_recv(&p, 1, out, sizeof(out), 1, WT_EXACT)).path, path_of(p.ctx, p.ep[1]));
	assert_int_equal(wt_ok(p.w[1], wt_recv(&p, 1, big, sizeof(big), 2, WT_EXACT)).path, path_of(p.ctx, p.ep[1]));
	wt_pair_close(&p);
}

static void a_trace_is_json(void **state)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);
	struct wt_pair p;
	off_t len;
	char *text;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_trace_start(p.ctx, fd), WEFT_OK);
	assert_int_equal(weft_trace_start(p.ctx, fd), WEFT_EBUSY);
	for (int i = 0; i < 20; i++)
		wt_exchange(&p, i & 1, 1000 * i, 1);
	assert_int_equal(weft_trace_stop(p.ctx), WEFT_OK);
	len = lseek(fd, 0, SEEK_END);
	assert_true(len > 100);
	text = calloc(1, (size_t)len + 1);
	assert_int_equal(pread(fd, text, (size_t)len, 0), len);
	assert_int_equal(wt_json_fault(text), SIZE_MAX);
	assert_non_null(strstr(text, "\"send\""));
	assert_non_null(strstr(text, "\"recv\""));
	free(text);
	close(fd);
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

struct logged {
	unsigned lines;
	int loudest, most_talkative;
	bool says_ready;
};

static void log_line(void *arg, int level, const char *line)
{
	struct logged *l = arg;

	l->lines++;
	l->loudest = l->lines == 1 || level < l->loudest ? level : l->loudest;
	l->most_talkative = level > l->most_talkative ? level : l->most_talkative;
	l->says_ready = l->says_ready || strstr(line, "ready over");
}

static void a_log_is_silent_unless_asked_for(void **state)
{
	static const int level[] = { WEFT_LOG_ERROR, WEFT_LOG_DEBUG, 0 };
	struct logged l[3] = { 0 };
	weft_ep *more[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < 3; i++) {
		weft_log_set(p.ctx, i < 2 ? log_line : NULL, &l[i], level[i]);
		wt_pair_more(&p, more);
		wt_ep_close(p.w[0], more[0]);
		wt_ep_close(p.w[1], more[1]);
	}
	assert_int_equal(l[0].lines, 0); /* all went well */
	assert_true(l[1].says_ready);
	assert_true(l[1].loudest >= WEFT_LOG_ERROR && l[1].most_talkative == WEFT_LOG_DEBUG);
	assert_int_equal(l[2].lines, 0);
	wt_pair_close(&p);
}

static void every_status_has_a_name_and_a_text(void **state)
{
	char text[200];

	(void)state;
	for (int32_t s = WEFT_STATUS_MIN_; s < 0; s++) {
		weft_event e = { .size = sizeof(e), .kind = WEFT_EV_OP, .status = s };

		assert_int_equal(strncmp(weft_status_name(s), "WEFT_E", 6), 0);
		assert_int_equal(weft_event_error(&e)->status, s);
		assert_true(weft_error_text(weft_event_error(&e), text, sizeof(text)) > 10);
		assert_non_null(strstr(text, weft_status_name(s)));
		assert_int_equal(weft_error_text(weft_event_error(&e), text, 4), weft_error_text(weft_event_error(&e), NULL, 0));
		assert_int_equal(strlen(text), 3);
	}
	assert_string_equal(weft_status_name(12345), "WEFT_?");
	assert_non_null(weft_last_error());
	assert_int_equal(weft_version() >> 16, WEFT_VERSION_MAJOR);
}

static void messages_beyond_the_limit_wait_at_their_sender(void **state)
{
	enum { N = 1000, LEN = 1000 };
	static unsigned char out[N * LEN], in[LEN];
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "limit_unexpected", "64K");
	wt_fill(out, sizeof(out), 1);
	for (int i = 0; i < N; i++)
		wt_send(&p, 0, out + i * LEN, LEN, i, WEFT_NO_EVENT);
	wt_pump_ms(50);
	wt_ok(p.w[1], wt_recv(&p, 1, in, LEN, N - 1, WT_EXACT)); /* one in particular, behind all the others */
	assert_int_equal(wt_differs_at(in, LEN, 1, (N - 1) * LEN), SIZE_MAX);
	for (int i = 0; i < N - 1; i++) {
		wt_ok(p.w[1], wt_recv(&p, 1, in, LEN, i, WT_EXACT));
		assert_int_equal(wt_differs_at(in, LEN, 1, i * LEN), SIZE_MAX);
	}
	for (int i = 0; i < 20; i++) /* the pressure is gone again */
		wt_exchange(&p, i & 1, 3000, i + 1);
	wt_pair_close(&p);
}

static void active_messages_beyond_the_limit_wait_too(void **state)
{
	enum { N = 400, LEN = 1000 };
	static unsigned char out[N * LEN], in[LEN];
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "limit_unexpected", "64K");
	wt_fill(out, sizeof(out), 1);
	for (int i = 0; i < N; i++) {
		weft_buf b = wt_buf(out + i * LEN, LEN);
		weft_call c = wt_call(WEFT_NO_EVENT);

		assert_true(weft_am_send(p.ep[0], 1, &i, sizeof(i), &b, 1, &c) >= 0);
	}
	wt_pump_ms(30);
	for (int i = 0; i < N; i++) {
		weft_event am = wt_wait(p.w[1], WEFT_EV_AM, UINT64_MAX, WT_LIMIT_MS);
		weft_buf b = wt_buf(in, LEN);
		weft_call c = wt_call(0);

		assert_memory_equal(am.data, &i, sizeof(i));
		wt_ok(p.w[1], wt_took(p.w[1], weft_am_recv(p.w[1]->w, &am, &b, 1, &c), &c));
		weft_event_release(p.w[1]->w, &am);
		assert_int_equal(wt_differs_at(in, LEN, 1, i * LEN), SIZE_MAX);
	}
	wt_exchange(&p, 0, 3000, 1);
	wt_pair_close(&p);
}

/* What others sent and nobody wants is no reason to leave somebody's only message unread: who waits for it need not be a receive. */
static void at_the_limit_each_endpoint_still_has_a_message_kept(void **state)
{
	enum { N = 1000, LEN = 1000 };
	static unsigned char out[N * LEN], in[LEN];
	weft_ep *other[2];
	struct wt_pair p;
	weft_event am;

	(void)state;
	wt_pair_open_with(&p, 0, "limit_unexpected", "64K");
	wt_fill(out, sizeof(out), 1);
	for (int i = 0; i < N; i++)
		wt_send(&p, 0, out + i * LEN, LEN, i, WEFT_NO_EVENT);
	wt_pump_ms(50);
	wt_pair_more(&p, other);
	for (uint32_t i = 0; i < 3; i++) {
		weft_buf b = wt_buf(out, 100);
		weft_call c = wt_call(WEFT_NO_EVENT);

		assert_true(weft_am_send(other[0], 1, &i, sizeof(i), &b, 1, &c) >= 0);
		am = wt_wait(p.w[1], WEFT_EV_AM, UINT64_MAX, WT_LIMIT_MS);
		assert_memory_equal(am.data, &i, sizeof(i));
		weft_event_release(p.w[1]->w, &am);
	}
	for (int i = 0; i < N; i++)
		wt_ok(p.w[1], wt_recv(&p, 1, in, LEN, i, WT_EXACT));
	wt_ep_close(p.w[0], other[0]);
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	weft_ep_abort(other[1]);
	wt_pair_close(&p);
}

static void opening_is_quick_and_leaves_nothing(void **state)
{
	weft_config *c = wt_config();
	int before = wt_fd_count();
	uint64_t best = UINT64_MAX;
	weft_ctx *ctx;

	(void)state;
	for (int i = 0; i < 20; i++) {
		uint64_t start = wt_now_ns(), took;

		assert_int_equal(weft_open(c, &ctx), WEFT_OK);
		took = wt_now_ns() - start;
		best = took < best ? took : best;
		assert_int_equal(weft_close(ctx), WEFT_OK);
	}
	assert_true(best < wt_slow(5) * 1000000ull);
	assert_int_equal(wt_fd_count(), before);
	weft_config_free(c);
}

/* Transports that must be named, the library of each, and how explain begins to describe a lane of it. */
static const struct named {
	const char *name, *library, *lane;
} named[] = {
	{ "ofi", "libfabric", ", ofi: libfabric" },
	{ "ucx", "libuc", ", ucx: UCX" },
};

static bool has_library(const char *name)
{
	char line[400];
	FILE *f = fopen("/proc/self/maps", "r");
	bool found = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found = found || strstr(line, name);
	fclose(f);
	return found;
}

/* One end of a connection that says @allow, on a context without settings. */
static weft_ep *try_with(struct wt_w *w[2], const char *url, const char *allow_connect, const char *allow_accept, weft_event *e)
{
	weft_conn_opts o = { .size = sizeof(o), .user_data = 4711, .allow = allow_connect };
	weft_ep *ep, *accepted;

	assert_int_equal(weft_connect(w[0]->w, url, &o, &ep), WEFT_OK);
	o.user_data++;
	o.allow = allow_accept;
	*e = wt_wait(w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(weft_accept(e->data, w[1]->w, &o, &accepted), WEFT_OK);
	*e = wt_wait(w[0], 0, 4711, WT_LIMIT_MS);
	weft_ep_abort(accepted);
	return ep;
}

/* Some libraries bring threads and handlers with them: they are not touched unless somebody names their transport. */
static void what_must_be_named_is_not_used_unnamed(void **state)
{
	char *text, url[160], want[200];
	bool was_here[2];
	struct wt_w *w[2];
	weft_listener *l;
	weft_config *c;
	weft_event e;
	weft_ctx *ctx;
	weft_ep *ep;

	(void)state;
	unsetenv("WEFT_TRANSPORTS");     /* the rest of the suite names its transport to weft_open() itself */
	for (unsigned i = 0; i < 2; i++)
		was_here[i] = has_library(named[i].library);
	assert_int_equal(weft_config_new(&c), WEFT_OK);
	assert_int_equal(weft_open(c, &ctx), WEFT_OK);
	weft_config_free(c);
	w[0] = wt_worker(ctx, 0);
	w[1] = wt_worker(ctx, 0);
	l = wt_listen(w[1], url, sizeof(url));
	for (unsigned i = 0; i < 2; i++) {
		const char *name = named[i].name;

		text = explain(ctx, NULL, NULL, 0);
		snprintf(want, sizeof(want), "%s   not asked for: not used unless the setting transports, or a connection's own list, names it", name);
		assert_non_null(strstr(text, want));
		free(text);
		ep = try_with(w, url, "shm,tcp", NULL, &e);
		text = explain(ctx, ep, NULL, 0);
		snprintf(want, sizeof(want), "not used: %s: not used unless", name);
		assert_non_null(strstr(text, want));
		free(text);
		weft_ep_abort(ep);
		assert_true(was_here[i] || !has_library(named[i].library));
	}
	for (unsigned i = 0; i < 2; i++) {
		const char *name = named[i].name;

		if (!wt_is(name))
			continue;
		ep = try_with(w, url, name, NULL, &e);
		assert_int_equal(e.kind, WEFT_EV_DOWN);
		wt_says(&e, "the peer does not offer it");
		weft_ep_abort(ep);
		ep = try_with(w, url, name, name, &e);
		assert_int_equal(e.kind, WEFT_EV_CONNECTED);
		text = explain(ctx, ep, NULL, 0);
		assert_non_null(strstr(text, named[i].lane));
		free(text);
		weft_ep_abort(ep);
	}
	assert_int_equal(weft_listener_close(l), WEFT_OK);
	wt_worker_free(w[0]);
	wt_worker_free(w[1]);
	assert_int_equal(weft_close(ctx), WEFT_OK);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(explain_names_the_path),
	WT_CASE(the_plan_is_what_happens),
	WT_CASE(paths_that_are_not_used_say_why),
	WT_CASE(what_must_be_named_is_not_used_unnamed),
	WT_CASE_HERE(stats_are_counted, "sums over all workers of a context"),
	WT_CASE(events_say_which_path_carried_them),
	WT_CASE(a_trace_is_json),
	WT_CASE(a_log_is_silent_unless_asked_for),
	WT_CASE(every_status_has_a_name_and_a_text),
	WT_CASE(messages_beyond_the_limit_wait_at_their_sender),
	WT_CASE(active_messages_beyond_the_limit_wait_too),
	WT_CASE(at_the_limit_each_endpoint_still_has_a_message_kept),
	WT_CASE(opening_is_quick_and_leaves_nothing),
};
WT_GROUP(wt_group_see, cases);
