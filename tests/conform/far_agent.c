/* SPDX-License-Identifier: BSD-3-Clause
 *
 * far_agent.c - the other process of conform_far: it carries out what it is asked for, one request after the other, and makes no turn
 * by itself, as a second worker in the same process would not.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform/far.h"
#include "lib/wt_inside.h"

enum { LIMIT_S = 200 };

struct memory {
	struct memory *next;
	weft_mem *m;
	unsigned char *at, *then;
	void *own;
	size_t len;
};

static int sock = -1, fds_before;
static unsigned live;                   /* contexts and workers */
static struct memory *memories;

static void *obj(const struct far_job *j, int i)
{
	return (void *)(uintptr_t)j->a[i];
}

/* ---- answers ---- */

static void put_error(struct far_buf *b, const weft_error *e)
{
	far_put(b, e, sizeof(*e));
	far_put_text(b, e->object);
	far_put_text(b, e->cause);
	far_put_text(b, e->remedy);
}

static void put_event(struct far_buf *b, const weft_event *e)
{
	far_put(b, e, sizeof(*e));
	far_put_blob(b, e->data, e->kind == WEFT_EV_AM ? e->data_len : 0);
}

static void put_changes(struct far_buf *b, bool large)
{
	struct far_buf runs = { 0 };

	for (struct memory *m = memories; m; m = m->next)
		if (large || m->len <= FAR_SMALL)
			far_diff(&runs, (uintptr_t)m, m->at, m->then, m->len);
	far_put_blob(b, runs.p, runs.len);
	far_drop(&runs);
}

static void answer(struct far_job *j)
{
	bool failed = j->ret < 0 || (j->what == FAR_REAP && !j->ret);
	struct far_buf b = { 0 };

	far_put64(&b, 0);
	far_put64(&b, (uint64_t)j->ret);
	far_put(&b, j->out, sizeof(j->out));
	far_put64(&b, failed);
	if (failed)
		put_error(&b, weft_last_error());
	far_put64(&b, j->n);
	for (size_t i = 0; i < j->n; i++)
		put_event(&b, &j->ev[i]);
	far_watch(j);
	far_put_blob(&b, j->writes.p, j->writes.len);
	put_changes(&b, j->n > 0 || j->what == FAR_SYNC);
	far_put(&b, j->tail.p, j->tail.len);
	if (!far_say(sock, &b))
		_exit(0);
	far_drop(&b);
}

/* ---- library, workers ---- */

static void do_begin(struct far_job *j)
{
	const char *name = far_get_text(&j->in);

	wt_must(name && wt_choose(name));
	fds_before = wt_fd_count();
}

static void do_end(struct far_job *j)
{
	int fds = wt_fd_count();

	if (live || fds == fds_before || wt_fds_may_stay())
		return;
	fprintf(stderr, "# the far side had %d descriptors before the case, and has %d after it\n", fds_before, fds);
	j->ret = WEFT_ELIMIT;
}

static void do_fds(struct far_job *j)
{
	j->ret = wt_fd_count();
}

static void do_readable(struct far_job *j)
{
	struct pollfd pfd = { .fd = weft_worker_fd(obj(j, 0)), .events = POLLIN };

	j->ret = poll(&pfd, 1, (int)j->a[1]);
}

static void do_open(struct far_job *j)
{
	const char *key = far_get_text(&j->in), *value = far_get_text(&j->in);

	j->ret = (int64_t)(uintptr_t)wt_open_own(key, value);
	live++;
}

static void do_close(struct far_job *j)
{
	j->ret = weft_close(obj(j, 0));
	live -= !j->ret;
}

static void do_worker(struct far_job *j)
{
	weft_worker_opts o = { .size = sizeof(o), .flags = (uint32_t)j->a[1] };
	weft_worker *w = NULL;

	j->ret = weft_worker_new(obj(j, 0), &o, &w);
	j->out[0] = (uintptr_t)w;
	live += !j->ret;
}

static void do_worker_free(struct far_job *j)
{
	j->ret = weft_worker_free(obj(j, 0));
	live -= !j->ret;
}

static void do_progress(struct far_job *j)
{
	j->ret = weft_progress(obj(j, 0));
}

static void do_reap(struct far_job *j)
{
	if (j->what == FAR_PUMP)
		wt_must(weft_progress(obj(j, 0)) >= 0);
	j->n = weft_reap(obj(j, 0), j->ev, j->a[1] < FAR_EVENTS ? j->a[1] : FAR_EVENTS);
	j->ret = (int64_t)j->n;
	for (size_t i = 0; i < j->n; i++)
		far_end_op(j, &j->ev[i]);
}

static void do_release(struct far_job *j)
{
	weft_event e;

	memcpy(&e, far_get(&j->in, sizeof(e)), sizeof(e));
	weft_event_release(obj(j, 0), &e);
}

static void do_error(struct far_job *j)
{
	weft_event e;

	memcpy(&e, far_get(&j->in, sizeof(e)), sizeof(e));
	put_error(&j->tail, weft_event_error(&e));
}

static void do_wait_any(struct far_job *j)
{
	j->ret = weft_wait_any(obj(j, 0), far_deadline(j->a[1]));
}

static void do_arm(struct far_job *j)
{
	j->ret = weft_arm(obj(j, 0));
}

static void do_wake(struct far_job *j)
{
	j->ret = weft_wake(obj(j, 0));
}

/* ---- connections ---- */

static const weft_conn_opts *get_opts(struct far_job *j, weft_conn_opts *room)
{
	size_t len;
	const void *o = far_get_blob(&j->in, &len);
	const char *allow = far_get_text(&j->in);

	if (!len)
		return NULL;
	memcpy(room, o, sizeof(*room));
	room->allow = allow;
	room->deadline_ns = far_deadline(room->deadline_ns);
	return room;
}

static void do_listen(struct far_job *j)
{
	const char *url = far_get_text(&j->in);
	weft_conn_opts room;
	const weft_conn_opts *o = get_opts(j, &room);
	weft_listener *l = NULL;
	char here[200];

	j->ret = weft_listen(obj(j, 0), far_url(url, here, sizeof(here)), o, &l);
	j->out[0] = (uintptr_t)l;
}

static void do_listener_close(struct far_job *j)
{
	j->ret = weft_listener_close(obj(j, 0));
}

/* A text of up to a[1] bytes. */
static void do_text(struct far_job *j)
{
	size_t cap = j->a[1];
	char *text = calloc(1, cap + 1);

	wt_must(text != NULL);
	j->ret = j->what == FAR_LISTENER_URL ? weft_listener_url(obj(j, 0), text, cap) :
		 j->what == FAR_PEER ? weft_ep_peer(obj(j, 0), text, cap) : weft_ep_local(obj(j, 0), text, cap);
	far_put_blob(&j->tail, text, j->ret ? 0 : strlen(text) + 1);
	free(text);
}

static void do_accept(struct far_job *j)
{
	weft_conn_opts room;
	const weft_conn_opts *o = get_opts(j, &room);
	weft_ep *ep = NULL;

	j->ret = weft_accept(obj(j, 0), obj(j, 1), o, &ep);
	j->out[0] = (uintptr_t)ep;
}

static void do_reject(struct far_job *j)
{
	j->ret = weft_reject(obj(j, 0), (int32_t)j->a[1], far_get_text(&j->in));
}

static void do_connect(struct far_job *j)
{
	size_t len = 0;
	const void *to = j->what == FAR_CONNECT ? (const void *)far_get_text(&j->in) : far_get_blob(&j->in, &len);
	weft_conn_opts room;
	const weft_conn_opts *o = get_opts(j, &room);
	weft_ep *ep = NULL;

	j->ret = j->what == FAR_CONNECT ? weft_connect(obj(j, 0), to, o, &ep) : weft_connect_address(obj(j, 0), to, len, o, &ep);
	j->out[0] = (uintptr_t)ep;
}

static void do_abort(struct far_job *j)
{
	j->ret = weft_ep_abort(obj(j, 0));
}

static void do_user_data(struct far_job *j)
{
	weft_ep_set_user_data(obj(j, 0), j->a[1]);
}

/* Blobs whose length comes back: the worker's address, explain, stats. */
static void do_blob(struct far_job *j)
{
	size_t cap = j->a[j->what == FAR_EXPLAIN ? 3 : j->what == FAR_STATS ? 2 : 1], len = cap;
	char *out = calloc(1, cap + 1);

	wt_must(out != NULL);
	if (j->what == FAR_ADDRESS)
		j->ret = weft_address(obj(j, 0), out, &len);
	else if (j->what == FAR_EXPLAIN)
		j->ret = weft_explain(obj(j, 0), obj(j, 1), far_get_text(&j->in), (int)j->a[2], out, &len);
	else
		j->ret = weft_stats(obj(j, 0), obj(j, 1), out, &len);
	j->out[0] = len;
	far_put_blob(&j->tail, out, j->ret ? 0 : len < cap ? len + 1 : cap);
	free(out);
}

/* ---- memory ---- */

unsigned char *far_memory(uint64_t handle, weft_mem **mem_out)
{
	struct memory *m = memories;

	while (m && (uintptr_t)m != handle)
		m = m->next;
	wt_must(m != NULL);
	*mem_out = m->m;
	return m->at;
}

/* At the same place within a page as the caller's. */
static void do_memory(struct far_job *j)
{
	struct memory *m = calloc(1, sizeof(*m));
	weft_buf b;
	int ret;

	wt_must(m != NULL);
	m->len = j->a[1];
	m->then = calloc(1, m->len + 1);
	wt_must(m->then != NULL);
	if (j->a[3]) {
		ret = weft_mem_alloc(obj(j, 0), m->len, WEFT_HOST, 0, &m->m);
		m->at = ret ? NULL : weft_mem_addr(m->m, NULL);
	} else {
		m->own = aligned_alloc(4096, (m->len + 2 * 4096) & ~4095ul);
		wt_must(m->own != NULL);
		m->at = (unsigned char *)m->own + j->a[4];
		memset(m->at, 0, m->len);
		b = wt_buf(m->at, m->len);
		ret = weft_mem_register(obj(j, 0), &b, (uint32_t)j->a[2], &m->m);
	}
	wt_must(!ret);
	m->next = memories;
	memories = m;
	j->ret = (int64_t)(uintptr_t)m;
}

static void do_mem_free(struct far_job *j)
{
	for (struct memory **at = &memories, *m; (m = *at); at = &m->next) {
		if ((uintptr_t)m != j->a[0])
			continue;
		j->ret = weft_mem_free(m->m);
		if (j->ret)
			return;
		*at = m->next;
		free(m->then);
		free(m->own);
		free(m);
		return;
	}
	wt_must(!"there is such memory");
}

/* What the caller has stored. */
static void take_changes(struct far_job *j)
{
	for (uint64_t end = far_get64(&j->in) + j->in.at; j->in.at < end;) {
		struct memory *m = memories;
		uint64_t handle = far_get64(&j->in), at = far_get64(&j->in);
		size_t len;
		const void *bytes = far_get_blob(&j->in, &len);

		while (m && (uintptr_t)m != handle)
			m = m->next;
		wt_must(m != NULL);
		memcpy(m->at + at, bytes, len);
		memcpy(m->then + at, bytes, len);
	}
}

static void do_grant(struct far_job *j)
{
	unsigned char token[256];
	size_t len = j->a[5];
	weft_grant g = { 0 };
	weft_mem *m;

	wt_must(len <= sizeof(token));
	far_memory(j->a[0], &m);
	j->ret = weft_grant_new(m, j->a[1], j->a[2], (uint32_t)j->a[3], obj(j, 4), token, &len, &g);
	j->out[0] = len;
	j->out[1] = g.v;
	far_put_blob(&j->tail, token, j->ret ? 0 : len);
}

static void do_remote(struct far_job *j)
{
	size_t len;
	const void *token = far_get_blob(&j->in, &len);
	weft_remote *r = NULL;

	j->ret = weft_remote_open(obj(j, 0), token, len, &r);
	j->out[0] = (uintptr_t)r;
}

static void do_remote_close(struct far_job *j)
{
	weft_remote_close(obj(j, 0));
}

/* ---- operations that are there already ---- */

static void do_probe(struct far_job *j)
{
	weft_call room, *c = far_get_call(j, &room);
	weft_message *m = NULL;

	j->ret = weft_probe(obj(j, 0), j->a[1], j->a[2], c, j->a[3] ? &m : NULL);
	j->out[0] = (uintptr_t)m;
	if (j->ret == WEFT_OK) {
		j->ev[0] = c->event;
		j->n = 1;
	}
}

static bool serve_one(void);

/* The handler is the caller's: it runs there, and asks us for what it needs meanwhile. */
static void on_am(void *arg, weft_worker *w, const weft_event *am)
{
	struct far_buf b = { 0 };

	far_put64(&b, FAR_HANDLER);
	far_put64(&b, (uintptr_t)arg - 1);
	far_put64(&b, (uintptr_t)w);
	put_event(&b, am);
	if (!far_say(sock, &b))
		_exit(0);
	far_drop(&b);
	while (serve_one())
		;
}

static void do_bind(struct far_job *j)
{
	bool undo = j->a[2] == UINT64_MAX;

	j->ret = weft_am_bind(obj(j, 0), (uint32_t)j->a[1], undo ? NULL : on_am, undo ? NULL : (void *)(uintptr_t)(j->a[2] + 1));
}

static void do_fence(struct far_job *j)
{
	j->ret = weft_fence(obj(j, 0));
}

static void do_wait(struct far_job *j)
{
	weft_op op = { j->a[1] };

	j->ret = j->what == FAR_TEST ? weft_test(obj(j, 0), op, &j->ev[0]) : weft_wait(obj(j, 0), op, far_deadline(j->a[2]), &j->ev[0]);
	j->n = j->ret == WEFT_OK;
	if (j->n)
		far_end_op(j, &j->ev[0]);
}

static void do_cancel(struct far_job *j)
{
	j->ret = weft_cancel(obj(j, 0), (weft_op){ j->a[1] });
}

static void do_sync(struct far_job *j)
{
	(void)j;
}

/* ---- serving ---- */

static void (*const does[FAR_POSTS])(struct far_job *j) = {
	[FAR_BEGIN] = do_begin, [FAR_END] = do_end, [FAR_SYNC] = do_sync, [FAR_FDS] = do_fds, [FAR_READABLE] = do_readable,
	[FAR_PUMP] = do_reap, [FAR_OPEN] = do_open, [FAR_CLOSE] = do_close, [FAR_WORKER] = do_worker, [FAR_WORKER_FREE] = do_worker_free,
	[FAR_PROGRESS] = do_progress, [FAR_REAP] = do_reap, [FAR_RELEASE] = do_release, [FAR_ERROR] = do_error,
	[FAR_WAIT_ANY] = do_wait_any, [FAR_ARM] = do_arm, [FAR_WAKE] = do_wake, [FAR_LISTEN] = do_listen, [FAR_LISTENER_URL] = do_text,
	[FAR_LISTENER_CLOSE] = do_listener_close, [FAR_ACCEPT] = do_accept, [FAR_REJECT] = do_reject, [FAR_CONNECT] = do_connect,
	[FAR_ADDRESS] = do_blob, [FAR_CONNECT_ADDRESS] = do_connect, [FAR_ABORT] = do_abort, [FAR_USER_DATA] = do_user_data,
	[FAR_PEER] = do_text, [FAR_LOCAL] = do_text, [FAR_MEMORY] = do_memory, [FAR_MEM_FREE] = do_mem_free, [FAR_GRANT] = do_grant,
	[FAR_REMOTE] = do_remote, [FAR_REMOTE_CLOSE] = do_remote_close, [FAR_PROBE] = do_probe, [FAR_BIND] = do_bind,
	[FAR_FENCE] = do_fence, [FAR_TEST] = do_wait, [FAR_WAIT] = do_wait, [FAR_CANCEL] = do_cancel, [FAR_EXPLAIN] = do_blob,
	[FAR_STATS] = do_blob,
};

/* False: the handler that runs at the caller's has returned. */
static bool serve_one(void)
{
	struct far_job j = { 0 };

	if (!far_hear(sock, &j.in))
		_exit(0); /* the case is over */
	j.what = far_get64(&j.in);
	memcpy(j.a, far_get(&j.in, sizeof(j.a)), sizeof(j.a));
	take_changes(&j);
	if (j.what == FAR_RETURN) {
		far_drop(&j.in);
		return false;
	}
	if (j.what >= FAR_POSTS)
		far_post(&j);
	else
		does[j.what](&j);
	answer(&j);
	if (j.what == FAR_END)
		_exit(0);
	far_drop(&j.in);
	far_drop(&j.writes);
	far_drop(&j.tail);
	return true;
}

/* One that crashes shall not do so in silence. */
static void on_child(int sig)
{
	int status, was = errno;

	(void)sig;
	while (waitpid(-1, &status, WNOHANG) > 0) {
		if (WIFSIGNALED(status))
			dprintf(2, "# the far process died of signal %d\n", WTERMSIG(status));
	}
	errno = was;
}

int far_serve(int listener)
{
	signal(SIGCHLD, on_child);
	for (;;) {
		pid_t server = getpid();

		sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0 && errno == EINTR)
			continue;
		if (sock < 0)
			return 1;
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != server)
				_exit(0);
			close(listener);
			signal(SIGCHLD, SIG_DFL);
			wt_in_child();
			alarm(wt_slow(LIMIT_S));
			while (serve_one())
				;
			_exit(1);
		}
		close(sock);
	}
}
