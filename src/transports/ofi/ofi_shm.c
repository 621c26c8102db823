/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_shm.c - what libfabric's provider shm needs so that it does not fault (G72). An endpoint's name is a file in
 * /dev/shm. To insert the name of a file that is gone reads through a null pointer; and between endpoints of one process the
 * provider passes the address of the memory itself, which the owner unmaps at its end, whoever else uses it.
 *
 * So names are looked at before they are inserted, and a list of this process's own knows how many ports have inserted each of
 * them: an endpoint that is closed before they have taken it out again is kept until then. Nobody turns it meanwhile, and its
 * lanes are gone. All under one lock: making and ending connections is rare.
 */
#include "transports/ofi/ofi.h"

#include <stdio.h>

#include "base/fault.h"
#include "os/file.h"

#define PEERS_MAX 240u                   /* 256 is where the provider's own table ends */
#define SCHEME "fi_shm://"

struct own {                             /* an endpoint of this process */
	struct wf_list link;
	uint32_t users;                  /* ports that have its name in their vectors */
	struct ofi_engine *left;         /* its port is closed; NULL: it is not */
	uint8_t len;
	uint8_t name[OFI_NAME_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wf_list all = { &all, &all };

static struct own *find(const uint8_t *name, size_t len)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &all) {
		struct own *o = wf_list_entry(it, struct own, link);

		if (o->len == len && !memcmp(o->name, name, len))
			return o;
	}
	return NULL;
}

static bool is_there(const struct ofi_peer *peer)
{
	size_t skip = sizeof(SCHEME) - 1;
	char path[16 + OFI_NAME_MAX];

	if (peer->len <= skip || memcmp(peer->name, SCHEME, skip) || memchr(peer->name + skip, '/', peer->len - skip))
		return false;
	snprintf(path, sizeof(path), "/dev/shm/%.*s", (int)(peer->len - skip), (const char *)peer->name + skip);
	return wf_file_exists(path);
}

bool ofi_shm_enter(struct ofi_port *p)
{
	struct own *o = wf_calloc(1, sizeof(*o));

	if (!o)
		return false;
	o->len = (uint8_t)p->fab.name_len;
	memcpy(o->name, p->name, p->fab.name_len);
	pthread_mutex_lock(&lock);
	wf_list_push_back(&all, &o->link);
	pthread_mutex_unlock(&lock);
	return true;
}

bool ofi_shm_insert(struct ofi_port *p, struct ofi_peer *peer)
{
	struct own *o;
	bool done;

	if (p->n_inserted >= PEERS_MAX)
		return false;
	pthread_mutex_lock(&lock);
	o = find(peer->name, peer->len);
	done = !(o && o->left) && is_there(peer) && p->av->ops->insert(p->av, peer->name, 1, &peer->at, 0, NULL) == 1;
	if (done && o)
		o->users++;
	p->n_inserted += done;
	pthread_mutex_unlock(&lock);
	return done;
}

void ofi_shm_remove(struct ofi_port *p, struct ofi_peer *peer)
{
	struct ofi_engine *left = NULL;
	struct own *o;

	pthread_mutex_lock(&lock);
	o = find(peer->name, peer->len);
	p->av->ops->remove(p->av, &peer->at, 1, 0);
	p->n_inserted--;
	if (o && !--o->users && o->left) {
		left = o->left;
		wf_list_remove(&o->link);
		wf_free(o);
	}
	if (left)
		ofi_engine_close(left);
	pthread_mutex_unlock(&lock);
}

void ofi_shm_close(struct ofi_port *p, struct ofi_engine *e)
{
	struct own *o;

	pthread_mutex_lock(&lock);
	o = find(p->name, p->fab.name_len);
	if (o && o->users) {
		o->left = e;
	} else {
		if (o)
			wf_list_remove(&o->link);
		wf_free(o);
		ofi_engine_close(e);
	}
	pthread_mutex_unlock(&lock);
}
