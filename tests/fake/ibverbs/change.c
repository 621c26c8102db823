/* SPDX-License-Identifier: BSD-3-Clause
 *
 * change.c - what becomes of devices while a program runs: ports that go down and come up, addresses that go, adapters that fail or are
 * taken out; see WEFT_TEST_IBV_FAULT in fake.h.
 *
 * State is what the environment says, and calls go by that at once. Who has a device open is told by an event when the
 * process next asks for the list of devices. An adapter that went does not come back for who had it open.
 */
#include "fake/ibverbs/fake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fk_context *contexts;      /* open ones of this process, and of the one that it was forked from */

bool fk_device_has_fault(const char *word, uint32_t dev)
{
	const char *at = getenv("WEFT_TEST_IBV_FAULT");

	for (; at && (at = strstr(at, word)); at += strlen(word)) {
		char c = at[strlen(word)];

		if (c < '0' || c > '9' || (uint32_t)(c - '0') == dev)
			return true;
	}
	return false;
}

bool fk_is_out(uint32_t dev)
{
	return fk_device_has_fault("fatal", dev) || fk_device_has_fault("gone", dev) || fk_device_has_fault("cut", dev);
}

int fk_gone(struct ibv_context *ctx)
{
	if (!fk_ctx(ctx)->gone)
		return 0;
	errno = EIO;
	return EIO;
}

/* ---- telling ---- */

static void lose(struct fk_context *c)
{
	uint32_t dev = c->dev->index;
	bool flushes = fk_device_has_fault("fatal", dev);

	c->gone = true;
	if (!fk_device_has_fault("cut", dev))
		fk_bell_push(c->async, 0, IBV_EVENT_DEVICE_FATAL);
	for (uint32_t i = 0; i < FK_QPS; i++) {
		struct fk_qp *q = &fk.shm->qp[i];

		if (q->h.owner != fk.me || q->async != c->async)
			continue;
		if (flushes)
			fk_qp_fail(q, -1);
		fk_stop_waiting(q);
		q->state = IBV_QPS_ERR;  /* hears nothing, and gives nothing back */
	}
	for (uint32_t i = 0; i < FK_BELLS && !flushes; i++)
		if (fk.shm->bell[i].h.owner == fk.me && fk.shm->bell[i].ctx == (uintptr_t)c)
			fk_bell_break(i);
}

static void look(struct fk_context *c)
{
	uint32_t dev = c->dev->index;
	bool down = fk_device_has_fault("port_down", dev), bare = fk_device_has_fault("no_gids", dev);

	if (c->gone || fk.shm->bell[c->async].h.owner != fk.me)
		return;
	if (down != c->was_down)
		fk_bell_push(c->async, 0, down ? IBV_EVENT_PORT_ERR : IBV_EVENT_PORT_ACTIVE);
	if (bare != c->was_bare)
		fk_bell_push(c->async, 0, IBV_EVENT_GID_CHANGE);
	c->was_down = down;
	c->was_bare = bare;
	if (fk_is_out(dev))
		lose(c);
}

void fk_tell_changes(void)
{
	pthread_mutex_lock(&lock);
	if (fk_enter_if_attached()) {
		for (struct fk_context *c = contexts; c; c = c->next)
			look(c);
		fk_leave();
	}
	pthread_mutex_unlock(&lock);
}

void fk_context_add(struct fk_context *c)
{
	pthread_mutex_lock(&lock);
	c->was_down = fk_device_has_fault("port_down", c->dev->index);
	c->was_bare = fk_device_has_fault("no_gids", c->dev->index);
	c->next = contexts;
	contexts = c;
	pthread_mutex_unlock(&lock);
}

void fk_context_remove(struct fk_context *c)
{
	struct fk_context **at = &contexts;

	pthread_mutex_lock(&lock);
	while (*at && *at != c)
		at = &(*at)->next;
	if (*at)
		*at = c->next;
	pthread_mutex_unlock(&lock);
}
