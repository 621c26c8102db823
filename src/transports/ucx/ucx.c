/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx.c - the table of rows, the engine, the port's turn and its sleep. The model is told in ucx.h.
 */
#include "transports/ucx/ucx.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

#define ROUNDS 4                         /* turns of UCX's in one poll() */
#define JOIN_ROUNDS 64                   /* ... when endpoints are to be made, which wants it to have nothing left to do */
#define NAP_NS (2 * WF_NS_PER_MS)

static int ucx_open(struct wf_port *base)
{
	struct ucx_port *p = ucx_port_of(fab_port_of(base));
	char why[160] = "", remedy[160] = "";

	p->lib = ucx_lib(why, sizeof(why), remedy, sizeof(remedy));
	if (!p->lib)
		return wf_fail(WEFT_ENOTSUP, 0, "ucx", remedy, "%s", why);
	fab_init(&p->fab, &ucx_engine);
	wf_list_init(&p->peers);
	wf_map_init(&p->wanted);
	wf_map_init(&p->regs);
	wf_watch_init(&p->watch, fab_on_fd, p);
	return 0;
}

static void ucx_close(struct wf_port *base)
{
	struct ucx_port *p = ucx_port_of(fab_port_of(base));

	ucx_ep_close(p);
	fab_fini(&p->fab);
	wf_map_fini(&p->wanted);
	wf_map_fini(&p->regs);
}

static int ucx_poll(struct wf_port *base)
{
	struct ucx_port *p = ucx_port_of(fab_port_of(base));
	int n = 0, rounds = p->n_joining ? JOIN_ROUNDS : ROUNDS;
	unsigned some = 1;

	for (int i = 0; p->fab.open && some && i < rounds; i++) {
		some = p->lib->worker_progress(p->worker);
		n += (int)some;
	}
	if (p->n_joining && !some)
		ucx_connect(p);
	n += fab_chores(&p->fab);
	if (p->n_leaving)
		ucx_leave(p, wf_now_ns());
	return n;
}

static int ucx_arm(struct wf_port *base)
{
	struct ucx_port *p = ucx_port_of(fab_port_of(base));
	ucs_status_t ret;
	uint64_t at, nap;

	if (fab_has_news(&p->fab) || p->n_joining)
		return WEFT_AGAIN;
	if (!p->fab.open)
		return WEFT_OK;
	at = fab_wake_at(&p->fab);
	ret = p->lib->worker_arm(p->worker);
	if (ret == UCS_ERR_BUSY)
		return WEFT_AGAIN;
	if (ret || p->n_leaving) {
		nap = wf_now_ns() + NAP_NS;
		at = at ? WF_MIN(at, nap) : nap;
	}
	wf_port_wake_at(base, at);
	return WEFT_OK;
}

/* ---- the engine ---- */

static const char *ucx_words(const struct fab_port *p, int err)
{
	return ((const struct ucx_port *)(const void *)p)->lib->status_string((ucs_status_t)-err);
}

/* It ends with the endpoint, and its upcall comes. */
static bool ucx_let_go(struct fab_port *p, struct fab_move *m)
{
	(void)p;
	ucx_hush(m->lane);
	return false;
}

const struct fab_engine ucx_engine = {
	.name = "ucx",
	.kind_is = "the library",
	.open = ucx_ep_open,
	.words = ucx_words,
	.join = ucx_join,
	.part = ucx_part,
	.send = ucx_send,
	.move = ucx_move,
	.landed = ucx_landed,
	.reg = ucx_reg,
	.unreg = ucx_unreg,
	.tell = ucx_tell,
	.hush = ucx_hush,
	.is_quiet = ucx_is_quiet,
	.heard = ucx_heard,
	.let_go = ucx_let_go,
};

/* ---- the transport ---- */

static void ucx_describe(const struct wf_lane *base, char *out, size_t cap)
{
	const struct ucx_port *p = ucx_port_of(fab_port_of(base->port));
	const char *only = getenv("UCX_TLS");
	unsigned major, minor, release;

	if (!p->fab.open) {
		snprintf(out, cap, "not open");
		return;
	}
	p->lib->get_version(&major, &minor, &release);
	snprintf(out, cap, "UCX %u.%u.%u, %s%s, %s", major, minor, release, only ? "UCX_TLS=" : "its choice of transports", only ? only : "",
		 base->can_copy ? "large messages come in pieces that the receiver asks for" :
				  "frames only: these transports do not tell of errors, so that buffers could not be taken back from them");
}

const struct wf_transport wf_ucx = {
	.name = "ucx",
	.caps = WF_CAP_ATTACH | WF_CAP_OPT_IN | WF_CAP_LATE,
	.eager_max = FAB_EAGER,
	.port_size = sizeof(struct ucx_port),
	.lane_size = sizeof(struct fab_lane),
	.probe = ucx_probe,
	.open = ucx_open,
	.close = ucx_close,
	.offer = fab_offer,
	.attach = fab_attach,
	.hear = fab_hear,
	.abandon = fab_abandon,
	.lane_close = fab_lane_close,
	.send = fab_send,
	.resume = fab_resume,
	.copy_offer = fab_copy_offer,
	.copy_start = fab_copy_start,
	.copy_stop = fab_copy_stop,
	.copy_end = fab_copy_end,
	.poll = ucx_poll,
	.arm = ucx_arm,
	.disarm = fab_disarm,
	.describe = ucx_describe,
};
