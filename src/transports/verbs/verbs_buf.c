/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_buf.c - a device's own buffers, in registered blocks: what is sent from, and what is received into.
 */
#include "transports/verbs/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "os/mem.h"

/* For verbs_reg_on_demand(): of buffers to receive into, and of those to send and write from, and to read into. */
#define RECV_USES(d) ((d)->srq ? IBV_ODP_SUPPORT_SRQ_RECV : IBV_ODP_SUPPORT_RECV)
#define SEND_USES (IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ | IBV_ODP_SUPPORT_ATOMIC)

static struct verbs_block *new_block(struct verbs_dev *d, unsigned n, size_t each, uint32_t uses, char *why, size_t cap)
{
	struct verbs_block *b = wf_calloc(1, sizeof(*b) + n * sizeof(b->buf[0]));

	if (!b) {
		snprintf(why, cap, "no memory for %u buffers", n);
		return NULL;
	}
	b->len = n * each;
	if (wf_map_private(b->len, &b->map)) {
		snprintf(why, cap, "no memory for %u buffers of %zu bytes", n, each);
		wf_free(b);
		return NULL;
	}
	errno = 0;
	b->mr = d->port->lib->reg_mr(d->pd, b->map, b->len, IBV_ACCESS_LOCAL_WRITE);
	if (!b->mr)
		b->mr = verbs_reg_on_demand(d, b->map, b->len, IBV_ACCESS_LOCAL_WRITE, uses);
	if (!b->mr) {
		snprintf(why, cap, "%s: registering %zu KiB for buffers: %s%s", d->name, b->len >> 10, strerror(errno),
			 verbs_is_memlock(errno) ? " (ulimit -l unlimited)" : "");
		wf_unmap(&b->map, b->len);
		wf_free(b);
		return NULL;
	}
	for (unsigned i = 0; i < n; i++) {
		struct verbs_buf *buf = &b->buf[i];

		*buf = (struct verbs_buf){ .bytes = (uint8_t *)b->map + i * each, .lkey = b->mr->lkey, .is_small = each < VERBS_BUF };
		buf->sge = (struct ibv_sge){ .addr = (uintptr_t)buf->bytes, .length = (uint32_t)each, .lkey = buf->lkey };
		buf->wr = (struct ibv_recv_wr){ .wr_id = (uintptr_t)buf, .sg_list = &buf->sge, .num_sge = 1 };
	}
	b->next = d->blocks;
	d->blocks = b;
	return b;
}

#define MORE_SENDS  VERBS_SENDS          /* at a time */
#define MORE_SMALLS (VERBS_SENDS * (VERBS_BUF / VERBS_INLINE) / 8)
#define REFUSED_NS  (100 * WF_NS_PER_MS)   /* the limit on locked memory allowed no more: it is not asked again at every turn */

bool verbs_may_send_buf(const struct verbs_dev *d, bool is_small)
{
	bool is_bound = is_small ? d->n_smalls + MORE_SMALLS > VERBS_SMALLS_MAX : d->n_sends + MORE_SENDS > VERBS_SENDS_MAX;

	if (is_small ? d->smalls : d->sends)
		return true;
	return !is_bound && (!d->refused_until[is_small] || wf_now_ns() >= d->refused_until[is_small]);
}

/* More of them, as long as the bound allows. */
static void more_sends(struct verbs_dev *d, bool is_small)
{
	unsigned *n = is_small ? &d->n_smalls : &d->n_sends;
	unsigned more = is_small ? MORE_SMALLS : MORE_SENDS;
	/* without those that are atomic with the CPU none of the adapter's are used (verbs_rma.c) */
	uint32_t unused = d->atomics == IBV_ATOMIC_GLOB ? 0 : IBV_ODP_SUPPORT_ATOMIC;
	struct verbs_block *b;
	char why[160];

	if (!verbs_may_send_buf(d, is_small))
		return;
	b = new_block(d, more, is_small ? VERBS_INLINE : VERBS_BUF, SEND_USES & ~unused, why, sizeof(why));
	d->refused_until[is_small] = b ? 0 : wf_now_ns() + REFUSED_NS;
	if (!b)
		verbs_wake_at(d->port, d->refused_until[is_small]);
	for (unsigned i = 0; b && i < more; i++)
		verbs_send_buf_put(d, &b->buf[i]);
	*n += b ? more : 0;
}

struct verbs_buf *verbs_send_buf(struct verbs_dev *d, bool is_small)
{
	struct verbs_buf **list = is_small ? &d->smalls : &d->sends;
	struct verbs_buf *b;

	if (wf_unlikely(!*list))
		more_sends(d, is_small);
	b = *list;
	if (wf_likely(b))
		*list = b->next;
	return b;
}

void verbs_send_buf_put(struct verbs_dev *d, struct verbs_buf *b)
{
	struct verbs_buf **list = b->is_small ? &d->smalls : &d->sends;

	b->next = *list;
	*list = b;
}

int verbs_more_recvs(struct verbs_dev *d, unsigned n, char *why, size_t cap)
{
	struct verbs_block *b = new_block(d, n, VERBS_BUF, RECV_USES(d), why, cap);

	if (!b)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		verbs_recv_buf_put(d, NULL, &b->buf[i]);
	d->n_recvs += n;
	verbs_repost(d);
	return 0;
}

struct verbs_block *verbs_recvs_get(struct verbs_dev *d, unsigned n, char *why, size_t cap)
{
	struct verbs_block *b;

	for (struct verbs_block **at = &d->spare; (b = *at); at = &b->spare)
		if (b->len == n * VERBS_BUF) {
			*at = b->spare;
			return b;
		}
	b = new_block(d, n, VERBS_BUF, RECV_USES(d), why, cap);
	if (b)
		d->n_recvs += n;
	return b;
}

void verbs_blocks_free(struct verbs_dev *d)
{
	struct verbs_block *b;

	while ((b = d->blocks)) {
		d->blocks = b->next;
		d->port->lib->dereg_mr(b->mr);
		wf_unmap(&b->map, b->len);
		wf_free(b);
	}
	d->spare = NULL;
	d->sends = d->smalls = d->unposted = NULL;
	d->n_sends = d->n_smalls = d->n_recvs = 0;
}
