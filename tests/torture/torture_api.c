/* SPDX-License-Identifier: BSD-3-Clause
 *
 * torture_api.c - the life of two workers through weft.h alone, on each transport, with every point
 * failing in turn. A stage is a part of that life: making it, messages, active messages, the
 * stream, memory of the other, ending abruptly. Whatever fails: every operation is refused with a
 * word, or ends exactly once; what is received is right; afterwards the same two workers connect
 * and exchange a message as if nothing had been; and everything can be freed.
 */
#include "torture/torture.h"
#include "weft/weft.h"

#define LIMIT_NS (10 * WF_NS_PER_S)
#define QUIET_NS (25 * WF_NS_PER_MS) /* so long without an event: what is pending waits for what was refused */
#define SHORTAGE_NS (50 * WF_NS_PER_MS) /* as long a lasting failure lasts */
#define BIG      (600u << 10)
#define OPS      96
#define EPS      3

struct side {
	weft_worker *w;
	weft_ep *ep[EPS];        /* in order of making */
	int n_ep;
	bool up[EPS], down[EPS];
};

struct op {
	const char *name;
	weft_worker *w;
	weft_op handle;
	bool pending;
	int32_t status;
	const char *into;        /* receives: where, and what must be there when it is well */
	size_t len;
	char byte;
};

struct life {
	const char *transport, *cma;
	weft_ctx *ctx;
	struct side a, b;        /* a connects, b listens */
	weft_listener *listener;
	weft_mem *mem[2];
	weft_grant grant[2];
	bool granted[2];
	weft_remote *remote[2];
	struct op op[OPS];
	int n_op;
	bool lenient;            /* operations may fail now, and those that wait are cancelled */
	uint64_t limit_ns, last_event_ns, struck_ns;
	const char *wrong;
};

static char out_bytes[BIG], in_bytes[4][BIG], plain[8192];

/* ---- operations ---- */

static bool may_fail(const struct life *l)
{
	return l->lenient || torture_struck();
}

static void blame(struct life *l, const char *what)
{
	if (!l->wrong)
		l->wrong = what;
}

static weft_call new_call(const struct life *l, uint32_t flags)
{
	return (weft_call){ .size = sizeof(weft_call), .flags = flags, .user_data = (uint64_t)l->n_op + 1 };
}

static void end_op(struct life *l, struct op *o, int32_t status)
{
	o->pending = false;
	o->status = status;
	if (!status && o->into)
		for (size_t i = 0; i < o->len; i++)
			if (o->into[i] != o->byte) {
				blame(l, "wrong bytes were received");
				return;
			}
	if (status && !may_fail(l)) {
		printf("# %s ended with %s\n", o->name, weft_status_name(status));
		blame(l, "an operation failed though nothing had");
	}
}

/* Writes down what a posting call has answered. */
static struct op *post(struct life *l, weft_worker *w, const char *name, int ret, const weft_call *c)
{
	struct op *o = &l->op[l->n_op];

	if (++l->n_op == OPS)
		abort();         /* a mistake of this file */
	*o = (struct op){ .name = name, .w = w, .handle = c->op, .pending = ret == WEFT_PENDING, .status = ret };
	if (ret < 0 && (weft_last_error()->status != ret || !weft_last_error()->cause[0]))
		blame(l, "a call was refused without a word");
	if (ret < 0 && !may_fail(l)) {
		printf("# %s was refused: %s\n", name, weft_status_name(ret));
		blame(l, "a call was refused though nothing had failed");
	}
	if (ret == WEFT_OK)
		end_op(l, o, c->event.status);
	return o;
}

static void into(struct life *l, struct op *o, const char *at, size_t len, char byte)
{
	o->into = at;
	o->len = len;
	o->byte = byte;
	if (!o->pending && !o->status)
		end_op(l, o, 0);
}

static void op_event(struct life *l, const weft_event *e)
{
	struct op *o = e->user_data - 1 < (uint64_t)l->n_op ? &l->op[e->user_data - 1] : NULL;

	if (!o)
		blame(l, "an event for no operation");
	else if (!o->pending)
		blame(l, "an operation ended twice, or was refused and ended");
	else
		end_op(l, o, e->status);
}

/* ---- progress ---- */

static void take_request(struct life *l, weft_event *e)
{
	struct side *b = &l->b;
	weft_conn_opts o = { .size = sizeof(o), .user_data = 1000u + (unsigned)b->n_ep };

	if (b->n_ep == EPS)
		abort();
	if (!weft_accept(e->data, b->w, &o, &b->ep[b->n_ep]))
		b->n_ep++;
	else if (!weft_last_error()->cause[0])
		blame(l, "an accept was refused without a word");
}

static void take_am(struct life *l, struct side *s, weft_event *e)
{
	weft_call c = new_call(l, 0);
	weft_buf b = { .addr = in_bytes[3], .len = BIG };
	bool big = e->len > 100;

	if (e->data_len != 5 || memcmp(e->data, "head", 5))
		blame(l, "an active message came with a wrong header");
	c.deadline_ns = wf_now_ns() + WF_NS_PER_S;
	memset(in_bytes[3], 0, BIG);
	into(l, post(l, s->w, "am_recv", weft_am_recv(s->w, e, &b, 1, &c), &c), in_bytes[3], e->len, big ? 'b' : 's');
}

static void take_events(struct life *l, struct side *s)
{
	weft_event e[8];
	size_t n = weft_reap(s->w, e, 8);
	unsigned at;

	if (n)
		l->last_event_ns = wf_now_ns();
	for (size_t i = 0; i < n; i++) {
		at = (unsigned)e[i].user_data - 1000;
		if (e[i].kind == WEFT_EV_REQUEST)
			take_request(l, &e[i]);
		else if (e[i].kind == WEFT_EV_CONNECTED && at < EPS)
			s->up[at] = true;
		else if (e[i].kind == WEFT_EV_DOWN && at < EPS)
			s->down[at] = true;
		else if (e[i].kind == WEFT_EV_OP)
			op_event(l, &e[i]);
		else if (e[i].kind == WEFT_EV_AM)
			take_am(l, s, &e[i]);
		weft_event_release(s->w, &e[i]);
	}
}

static void turn(struct life *l)
{
	take_events(l, &l->a);
	take_events(l, &l->b);
	if (!wf_fault_last())
		l->struck_ns = 0;
	else if (!l->struck_ns)
		l->struck_ns = wf_now_ns();
	else if (wf_now_ns() - l->struck_ns > SHORTAGE_NS)
		torture_disarm();
}

static bool in_time(struct life *l)
{
	if (l->wrong)
		return false;
	if (wf_now_ns() > l->limit_ns)
		blame(l, "it was waited in vain");
	return !l->wrong;
}

static const struct op *first_pending(const struct life *l)
{
	for (int i = 0; i < l->n_op; i++)
		if (l->op[i].pending)
			return &l->op[i];
	return NULL;
}

static void cancel_pending(struct life *l)
{
	for (int i = 0; i < l->n_op; i++)
		if (l->op[i].pending && weft_cancel(l->op[i].w, l->op[i].handle) < 0 && l->op[i].handle.v == 0)
			blame(l, "a pending operation has no handle");
}

/* Until all have ended. After a failure some wait for a partner that was never posted: those are cancelled. */
static void settle(struct life *l)
{
	const struct op *o = NULL;
	bool cancelled = false;

	l->last_event_ns = wf_now_ns();
	while ((o = first_pending(l)) && in_time(l)) {
		turn(l);
		if (!may_fail(l) || cancelled || wf_now_ns() - l->last_event_ns < QUIET_NS)
			continue;
		cancel_pending(l);
		cancelled = true;
	}
	if (o)
		printf("# %s never ended\n", o->name);
	if (o && o->handle.v)
		blame(l, "an operation never ended");
}

/* Until @o has ended; cancelled when it has waited for too long after a failure. */
static void settle_one(struct life *l, const struct op *o)
{
	bool cancelled = false;

	l->last_event_ns = wf_now_ns();
	while (o->pending && in_time(l)) {
		turn(l);
		if (!torture_struck() || cancelled || wf_now_ns() - l->last_event_ns < QUIET_NS)
			continue;
		weft_cancel(o->w, o->handle);
		cancelled = true;
	}
}

/* ---- making it ---- */

static bool open_workers(struct life *l)
{
	weft_config *c;
	int ret;

	if (weft_config_new(&c)) {
		if (!weft_last_error()->cause[0])
			blame(l, "a failure without a text");
		return false;
	}
	weft_config_set(c, "transports", l->transport);
	weft_config_set(c, "connect_timeout", "2s");
	if (l->cma)
		weft_config_set(c, "cma", l->cma);
	ret = weft_open(c, &l->ctx);
	weft_config_free(c);
	if (ret) {
		l->ctx = NULL;
		if (!weft_last_error()->cause[0])
			blame(l, "a failure without a text");
		return false;
	}
	return !weft_worker_new(l->ctx, NULL, &l->a.w) && !weft_worker_new(l->ctx, NULL, &l->b.w);
}

/* Has an endpoint of @s that was made after the first @from come up? */
static bool is_up(const struct side *s, int from)
{
	for (int i = from; i < s->n_ep; i++)
		if (s->up[i])
			return true;
	return false;
}

/* One more connection. True: both sides are connected. */
static bool connect_pair(struct life *l)
{
	weft_conn_opts o = { .size = sizeof(o), .user_data = 1000u + (unsigned)l->a.n_ep, .allow = l->transport };
	int i = l->a.n_ep, accepted = l->b.n_ep;
	char url[256];

	if (weft_listener_url(l->listener, url, sizeof(url)) || weft_connect(l->a.w, url, &o, &l->a.ep[i])) {
		if (!torture_struck())
			blame(l, "a connect was refused");
		return false;
	}
	l->a.n_ep++;
	/* when a is down, b will learn it, whatever it thinks now */
	while (in_time(l) && !l->a.down[i] && !(l->a.up[i] && (is_up(&l->b, accepted) || l->b.down[accepted])))
		turn(l);
	if (l->a.down[i] && !torture_struck())
		blame(l, "a connection failed though nothing had");
	return l->a.up[i] && is_up(&l->b, accepted);
}

static bool make(struct life *l)
{
	return open_workers(l) && !weft_listen(l->b.w, "weft://127.0.0.1:0", NULL, &l->listener) && connect_pair(l);
}

/* ---- stages: endpoint 0 of both sides is connected ---- */

static void send_recv(struct life *l, size_t len, uint32_t flags, bool send_first, bool from_ep)
{
	weft_buf out = { .addr = out_bytes, .len = len }, in = { .addr = in_bytes[0], .len = len };
	weft_call c;
	struct op *r = NULL;

	memset(out_bytes, 'm', len);
	memset(in_bytes[0], 0, len);
	for (int i = 0; i < 2; i++) {
		c = new_call(l, 0);
		if (send_first == !i) {
			c.flags = flags;
			post(l, l->a.w, "send", weft_send(l->a.ep[0], &out, 1, len, &c), &c);
			for (int k = 0; k < 20; k++)
				turn(l);
			continue;
		}
		c.deadline_ns = wf_now_ns() + 5 * WF_NS_PER_S;
		c.from = from_ep ? l->b.ep[0] : NULL;
		r = post(l, l->b.w, "recv", weft_recv(l->b.w, &in, 1, len, UINT64_MAX, &c), &c);
		into(l, r, in_bytes[0], len, 'm');
	}
	settle(l);
}

static void stage_messages(struct life *l)
{
	static const size_t len[] = { 8, 3000, 60000, BIG };

	for (size_t i = 0; i < WF_ARRAY_LEN(len); i++) {
		send_recv(l, len[i], 0, false, true);
		send_recv(l, len[i], i & 1 ? WEFT_COPY : WEFT_SYNC, true, false);
	}
}

static void stage_scattered(struct life *l)
{
	weft_buf out[3] = { { .addr = out_bytes, .len = 100000 }, { .addr = out_bytes + 100000, .len = 1 },
			    { .addr = out_bytes + 200000, .len = 99999 } };
	weft_buf in[2] = { { .addr = in_bytes[0], .len = 7 }, { .addr = in_bytes[1], .len = 199993 } };
	weft_call c = new_call(l, 0);
	weft_message *m;

	memset(out_bytes, 'v', BIG);
	memset(in_bytes[1], 0, BIG);
	post(l, l->a.w, "send", weft_send(l->a.ep[0], out, 3, 1, &c), &c);
	c = new_call(l, 0);
	into(l, post(l, l->b.w, "recv", weft_recv(l->b.w, in, 2, 1, UINT64_MAX, &c), &c), in_bytes[1], 199993, 'v');
	settle(l);
	for (int i = 0; i < 2; i++) {        /* probed: a small one, a large one */
		out[0].len = i ? BIG : 900;
		c = new_call(l, 0);
		post(l, l->a.w, "send", weft_send(l->a.ep[0], out, 1, 5 + (uint64_t)i, &c), &c);
		l->last_event_ns = wf_now_ns();
		do {
			turn(l);
			c = new_call(l, 0);
			m = NULL;
		} while (weft_probe(l->b.w, 5 + (uint64_t)i, UINT64_MAX, &c, &m) == WEFT_AGAIN && in_time(l) &&
			 !(torture_struck() && wf_now_ns() - l->last_event_ns > QUIET_NS));
		in[0] = (weft_buf){ .addr = in_bytes[0], .len = BIG };
		memset(in_bytes[0], 0, BIG);
		c = new_call(l, 0);
		if (m) {
			int ret = weft_recv_message(m, in, 1, &c);
			struct op *o = post(l, l->b.w, "recv_message", ret, &c);

			if (ret < 0) {   /* refused: it is still ours, and can be received now */
				c = new_call(l, 0);
				o = post(l, l->b.w, "recv_message", weft_recv_message(m, in, 1, &c), &c);
			}
			into(l, o, in_bytes[0], out[0].len, 'v');
		}
		settle(l);
	}
}

/* Unwanted messages, cancels and truncation. */
static void stage_odd(struct life *l)
{
	weft_buf out = { .addr = out_bytes, .len = BIG }, in = { .addr = in_bytes[0], .len = 100 };
	weft_call c;
	struct op *o;

	for (int i = 0; i < 3; i++) {
		c = new_call(l, i == 2 ? WEFT_NO_EVENT : 0);
		out.len = i ? BIG : 64;
		if (i == 2)
			weft_send(l->a.ep[0], &out, 1, 9, &c);
		else
			post(l, l->a.w, "send", weft_send(l->a.ep[0], &out, 1, 9, &c), &c);
	}
	for (int k = 0; k < 20; k++)
		turn(l);
	c = new_call(l, 0);
	o = post(l, l->b.w, "short recv", weft_recv(l->b.w, &in, 1, 9, UINT64_MAX, &c), &c);
	settle_one(l, o);
	l->lenient = true;
	c = new_call(l, 0);
	o = post(l, l->b.w, "short recv", weft_recv(l->b.w, &in, 1, 9, UINT64_MAX, &c), &c);
	settle_one(l, o);
	if (!torture_struck() && o->status != WEFT_ETRUNCATED)
		blame(l, "a message longer than the buffer was not reported so");
	in.len = BIG;
	for (int i = 0; i < 3; i++) {        /* the last one is in the middle of its transfer */
		c = new_call(l, 0);
		o = post(l, l->b.w, "recv to cancel", weft_recv(l->b.w, &in, 1, i < 2 ? 77 : 9, UINT64_MAX, &c), &c);
		if (o->pending)
			weft_cancel(l->b.w, o->handle);
		settle_one(l, o);
	}
	settle(l);
	l->lenient = false;
}

static void stage_active(struct life *l)
{
	weft_buf out = { .addr = out_bytes };
	weft_call c;

	for (int i = 0; i < 4; i++) {
		out.len = i & 1 ? BIG : 50;
		memset(out_bytes, i & 1 ? 'b' : 's', out.len);
		c = new_call(l, i & 2 ? WEFT_COPY : 0);
		post(l, l->a.w, "am_send", weft_am_send(l->a.ep[0], 3, "head", 5, &out, 1, &c), &c);
		settle(l);
		l->last_event_ns = wf_now_ns();
	}
	for (int k = 0; k < 50; k++)
		turn(l);
	settle(l);
}

static void stage_stream(struct life *l)
{
	weft_buf out = { .addr = out_bytes, .len = 300000 }, in = { .addr = in_bytes[0], .len = 300000 };
	weft_call c;

	memset(out_bytes, 'x', BIG);
	memset(in_bytes[0], 0, BIG);
	c = new_call(l, 0);
	post(l, l->a.w, "stream_send", weft_stream_send(l->a.ep[0], &out, 1, &c), &c);
	for (int k = 0; k < 20; k++)
		turn(l);
	c = new_call(l, WEFT_ALL);
	into(l, post(l, l->b.w, "stream_recv", weft_stream_recv(l->b.ep[0], &in, 1, &c), &c), in_bytes[0], 300000, 'x');
	settle(l);
	out.len = 10;
	c = new_call(l, WEFT_COPY);
	post(l, l->a.w, "stream_send", weft_stream_send(l->a.ep[0], &out, 1, &c), &c);
	c = new_call(l, 0);
	post(l, l->b.w, "stream_recv", weft_stream_recv(l->b.ep[0], &in, 1, &c), &c);
	settle(l);
}

static void grant(struct life *l, int i)
{
	weft_buf b = { .addr = plain, .len = sizeof(plain) };
	unsigned char token[64];
	size_t len = sizeof(token);
	uint32_t all = WEFT_READ | WEFT_WRITE | WEFT_ATOMIC;

	if (i ? weft_mem_alloc(l->ctx, 8192, WEFT_HOST, 0, &l->mem[i]) : weft_mem_register(l->ctx, &b, all, &l->mem[i])) {
		l->mem[i] = NULL;
		return;
	}
	memset(weft_mem_addr(l->mem[i], NULL), 0, 8192);
	l->granted[i] = !weft_grant_new(l->mem[i], 0, 8192, all, NULL, token, &len, &l->grant[i]);
	if (l->granted[i] && weft_remote_open(l->a.ep[0], token, len, &l->remote[i]))
		l->remote[i] = NULL;
}

static void use_remote(struct life *l, weft_remote *r, const char *at)
{
	weft_ep *ep = l->a.ep[0];
	weft_worker *w = l->a.w;
	weft_buf out = { .addr = out_bytes, .len = 4096 }, in = { .addr = in_bytes[0], .len = 4096 };
	weft_rma v[3] = { { .local = out, .remote = r }, { .local = out, .remote = r, .offset = 4096 },
			  { .local = { .addr = in_bytes[1], .len = 8 }, .remote = r, .is_get = 1 } };
	weft_call c = new_call(l, 0);
	struct op *o;
	bool well;

	memset(out_bytes, 'p', 8192);
	o = post(l, w, "put", weft_put(ep, &out, 1, r, 0, &c), &c);
	c = new_call(l, 0);
	post(l, w, "flush", weft_flush(w, ep, &c), &c);
	settle(l);
	well = !o->status && !l->op[l->n_op - 1].status;
	if (well && at[4095] != 'p')
		blame(l, "a flushed put is not there");
	memset(in_bytes[0], 0, 4096);
	c = new_call(l, 0);
	o = post(l, w, "get", weft_get(ep, &in, 1, r, 0, &c), &c);
	if (well)
		into(l, o, in_bytes[0], 4096, 'p');
	c = new_call(l, 0);
	post(l, w, "batch", weft_rma_batch(ep, v, 3, &c), &c);
	c = new_call(l, WEFT_COPY);
	post(l, w, "put_signal", weft_put_signal(ep, &out, 1, r, 0, 7, &c), &c);
	if (weft_fence(ep) && !torture_struck())
		blame(l, "a fence was refused");
	c = new_call(l, 0);
	post(l, w, "atomic", weft_atomic(ep, WEFT_ATOMIC_ADD, r, 8, 1, 0, &c), &c);
	c = new_call(l, 0);
	post(l, w, "flush of all", weft_flush(w, NULL, &c), &c);
	settle(l);
}

static void stage_remote(struct life *l)
{
	for (int i = 0; i < 2; i++) {
		grant(l, i);
		if (l->remote[i])
			use_remote(l, l->remote[i], weft_mem_addr(l->mem[i], NULL));
	}
}

/* Revoked while it is open and in use. */
static void stage_revoke(struct life *l)
{
	weft_buf in = { .addr = in_bytes[0], .len = 64 };
	weft_call c;
	int ret;

	for (int i = 0; i < 2; i++) {
		grant(l, i);
		if (!l->remote[i])
			continue;
		c = new_call(l, 0);
		post(l, l->a.w, "get", weft_get(l->a.ep[0], &in, 1, l->remote[i], 0, &c), &c);
		settle(l);
		c = new_call(l, 0);
		ret = weft_grant_revoke(l->mem[i], l->grant[i], &c);
		post(l, l->b.w, "revoke", ret, &c);
		l->granted[i] = ret < 0;
		settle(l);
	}
}

/* The worker's own address, the reports, and a rejected connection. */
static void stage_other(struct life *l)
{
	static char text[65536];
	weft_conn_opts o = { .size = sizeof(o), .user_data = 1001 };
	size_t len = sizeof(text);

	weft_explain(l->ctx, l->a.ep[0], NULL, 1, text, &len);
	len = sizeof(text);
	weft_stats(l->ctx, l->a.w, text, &len);
	len = sizeof(text);
	if (weft_address(l->b.w, text, &len) || weft_connect_address(l->a.w, text, len, &o, &l->a.ep[1]))
		return;
	l->a.n_ep = 2;
	while (in_time(l) && !l->a.up[1] && !l->a.down[1])
		turn(l);
}

/* Everything pending, then one side or both let go without a word. */
static void pending(struct life *l)
{
	weft_buf out = { .addr = out_bytes, .len = BIG }, in = { .addr = in_bytes[0], .len = BIG };
	weft_call c;

	for (int i = 0; i < 2; i++) {
		c = new_call(l, 0);
		post(l, l->a.w, "send", weft_send(l->a.ep[0], &out, 1, 40, &c), &c);
		c = new_call(l, 0);
		post(l, l->a.w, "am_send", weft_am_send(l->a.ep[0], 3, "head", 5, NULL, 0, &c), &c);
		c = new_call(l, 0);
		post(l, l->b.w, "recv", weft_recv(l->b.w, &in, 1, 40 + (uint64_t)i, UINT64_MAX, &c), &c);
		c = new_call(l, 0);
		post(l, l->a.w, "stream_recv", weft_stream_recv(l->a.ep[0], &in, 1, &c), &c);
		c = new_call(l, 0);
		c.from = l->a.ep[0];
		post(l, l->a.w, "recv", weft_recv(l->a.w, &in, 1, 40, UINT64_MAX, &c), &c);
		c = new_call(l, 0);
		post(l, l->a.w, "flush", weft_flush(l->a.w, l->a.ep[0], &c), &c);
		take_events(l, &l->b);
	}
}

static void stage_abort(struct life *l)
{
	grant(l, 1);
	pending(l);
	l->lenient = true;
	weft_ep_abort(l->a.ep[0]);
	l->a.ep[0] = NULL;
	settle(l);
}

/* Its workers are freed with all of it pending, so nothing is told any more. */
static void stage_drop(struct life *l)
{
	grant(l, 1);
	pending(l);
	if (weft_worker_free(l->a.w))
		blame(l, "a worker cannot be freed with operations pending");
	l->a.w = NULL;
	if (weft_worker_free(l->b.w))
		blame(l, "a worker cannot be freed with operations pending");
	l->b.w = NULL;
	l->remote[0] = l->remote[1] = NULL;
	l->listener = NULL;
	l->n_op = 0;
}

/* ---- the end, with nothing failing ---- */

/* What broke has broken; a new connection of the same workers must be as good as the first. */
static void again(struct life *l)
{
	weft_buf out = { .addr = "again", .len = 6 }, in = { .addr = in_bytes[2], .len = 6 };
	weft_call c;
	int i = l->a.n_ep;

	if (!l->listener && weft_listen(l->b.w, "weft://127.0.0.1:0", NULL, &l->listener)) {
		l->listener = NULL;
		blame(l, "nothing fails any more, and a listen does");
		return;
	}
	if (!connect_pair(l)) {
		blame(l, "nothing fails any more, and a connection does");
		return;
	}
	c = new_call(l, 0);
	post(l, l->a.w, "send again", weft_send(l->a.ep[i], &out, 1, 1234, &c), &c);
	c = new_call(l, 0);
	memset(in_bytes[2], 0, 6);
	post(l, l->b.w, "recv again", weft_recv(l->b.w, &in, 1, 1234, UINT64_MAX, &c), &c);
	while (first_pending(l) && in_time(l))
		turn(l);
	if (memcmp(in_bytes[2], "again", 6))
		blame(l, "nothing fails any more, and a message is not right");
}

static void close_all(struct life *l, struct side *s)
{
	for (int i = 0; i < s->n_ep; i++) {
		weft_call c = new_call(l, 0);

		if (!s->ep[i])
			continue;
		post(l, s->w, "close", weft_ep_close(s->ep[i], &c), &c);
		s->ep[i] = NULL;
	}
}

static void part(struct life *l)
{
	for (int i = 0; i < 2; i++) {
		if (l->remote[i])
			weft_remote_close(l->remote[i]);
		l->remote[i] = NULL;
	}
	close_all(l, &l->a);
	close_all(l, &l->b);
	settle(l);
}

static void free_all(struct life *l)
{
	if (l->listener)
		weft_listener_close(l->listener);
	if (l->a.w && weft_worker_free(l->a.w))
		blame(l, "worker a cannot be freed");
	if (l->b.w && weft_worker_free(l->b.w))
		blame(l, "worker b cannot be freed");
	for (int i = 0; i < 2; i++) {
		if (l->granted[i] && weft_grant_revoke(l->mem[i], l->grant[i], NULL))
			blame(l, "a grant that nobody can use cannot be revoked");
		if (l->mem[i] && weft_mem_free(l->mem[i]))
			blame(l, "memory cannot be freed");
	}
	if (l->ctx && weft_close(l->ctx))
		blame(l, "the context cannot be closed");
}

struct plan {
	const char *transport, *cma;
	void (*stage)(struct life *l);   /* NULL: the making and the orderly end are what is tortured */
};

static const char *live(const void *arg)
{
	const struct plan *p = arg;
	struct life l = { .transport = p->transport, .cma = p->cma, .limit_ns = wf_now_ns() + LIMIT_NS };
	bool made = make(&l);

	if (!p->stage && made) {
		send_recv(&l, 8, 0, false, false);
		part(&l);
	} else if (made) {
		torture_arm();
		p->stage(&l);
	} else if (p->stage) {
		blame(&l, "nothing fails, and a connection cannot be made");
	}
	torture_disarm();
	if (l.a.w && l.b.w && !l.wrong)
		again(&l);
	if (l.a.w && l.b.w)
		part(&l);
	free_all(&l);
	return l.wrong;
}

#define PLAN(tr, cma, stage) live, &(const struct plan){ tr, cma, stage }
#define STAGE(name, lasting, tr, cma, word) { name ":" #word, PLAN(tr, cma, stage_##word), true, lasting }
#define ON(name, lasting, tr, cma)                                                                    \
	{ name ":life", PLAN(tr, cma, NULL), false, lasting }, STAGE(name, lasting, tr, cma, messages), \
	STAGE(name, lasting, tr, cma, scattered), STAGE(name, lasting, tr, cma, odd),                   \
	STAGE(name, lasting, tr, cma, active), STAGE(name, lasting, tr, cma, stream),                   \
	STAGE(name, lasting, tr, cma, remote), STAGE(name, lasting, tr, cma, revoke),                   \
	STAGE(name, lasting, tr, cma, other), STAGE(name, lasting, tr, cma, abort),                     \
	STAGE(name, lasting, tr, cma, drop)

static const struct torture list[] = {
	ON("loop", false, "loop", NULL),
	ON("shm", false, "shm,tcp", NULL),
	ON("shm-ring", false, "shm,tcp", "no"),
	ON("tcp", false, "tcp", NULL),
	ON("verbs", false, "verbs,tcp", NULL),   /* over tests/fake/ibverbs, where run.py says so; else one more of tcp */
	ON("loop, lasting", true, "loop", NULL),
	ON("shm, lasting", true, "shm,tcp", NULL),
	ON("tcp, lasting", true, "tcp", NULL),
	ON("verbs, lasting", true, "verbs,tcp", NULL),
};

int main(int argc, char **argv)
{
	return torture_main(argc, argv, list, (int)WF_ARRAY_LEN(list));
}
