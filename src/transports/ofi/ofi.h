/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi.h - private structs of the transport ofi: fabrics through libfabric, for those that weft does not drive itself (EFA,
 * Slingshot, Omni-Path). Lanes, frames and moves are transports/fabric's; this is its engine.
 *
 * Model. A worker's port has one reliable datagram endpoint (FI_EP_RDM) with one completion queue and one address vector,
 * in a domain of its own. Messages come in posted receive buffers, reads and writes of memory are FI_RMA.
 */
#ifndef WF_TRANSPORTS_OFI_H
#define WF_TRANSPORTS_OFI_H
#include "transports/fabric/fabric.h"
#include "transports/ofi/ofi_abi.h"

#define OFI_RX_MAX 512u                  /* posted receive buffers; beyond them the provider holds senders back */
#define OFI_CQ_BATCH 32
#define OFI_NAME_MAX FAB_NAME_SHORT      /* of an endpoint */

_Static_assert(sizeof(struct fi_context2) <= sizeof(((struct fab_op *)0)->room), "what the provider wants with an operation");

struct ofi_lib;

struct ofi_peer {                        /* an address in the vector, for all lanes that lead there */
	struct wf_list link;
	fi_addr_t at;
	uint32_t lanes, busy;            /* busy: operations in the provider's hands that name it */
	uint8_t len;
	uint8_t name[OFI_NAME_MAX];
};

/* What is left of a port that is closed, until the provider has let go of it. */
struct ofi_engine {
	const struct ofi_lib *lib;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct wf_list bufs;
};

struct ofi_port {
	struct fab_port fab;
	bool reg_ep, virt_addr, prov_key, is_shm;
	int fd;                          /* to sleep on; -1: the provider has none */
	bool cut;                        /* the endpoint is to be closed, to end what the provider does not end */
	uint64_t nap_ns;                 /* how long to sleep at most when there is no fd */
	uint64_t next_key, key_mask;
	const struct ofi_lib *lib;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct ofi_engine *spare;        /* memory to put them in at the end */
	struct wf_watch watch;
	struct wf_list peers, posted;    /* posted: receive buffers */
	uint32_t n_posted, n_idle, n_inserted;
	uint8_t name[OFI_NAME_MAX];
};

static inline struct ofi_port *ofi_port_of(struct fab_port *p)
{
	return (struct ofi_port *)(void *)p;
}

extern const struct fab_engine ofi_engine;

/* ---- ofi_lib.c: the library ---- */

struct ofi_lib {
	int (*getinfo)(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints,
		       struct fi_info **out);
	void (*freeinfo)(struct fi_info *info);
	struct fi_info *(*dupinfo)(const struct fi_info *info);
	int (*fabric)(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context);
	const char *(*strerror)(int err);
	uint32_t (*version)(void);
};

/* Loaded when it is asked for first, then for ever; NULL, and why and remedy, when it is not here. Any thread. */
const struct ofi_lib *ofi_lib(char *why, size_t why_cap, char *remedy, size_t remedy_cap);
/* The provider that libfabric prefers, of those that can do what we need: freed with freeinfo. NULL and why. */
struct fi_info *ofi_choose(const struct ofi_lib *lib, char *why, size_t why_cap, char *remedy, size_t remedy_cap);
int ofi_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap);

/* ---- ofi_ep.c: the endpoint of a port ---- */

/* Opens what is not open yet. 0 or a status, and why. */
int ofi_ep_open(struct fab_port *p, char *why, size_t cap);
void ofi_ep_close(struct ofi_port *p);
void ofi_ep_cut(struct ofi_port *p);       /* closes it under its lanes, which are down then; the next offer opens it again */
int ofi_cq_run(struct ofi_port *p);        /* completions, and their upcalls; how much happened */
void ofi_rx_fill(struct fab_port *p);
void ofi_rx_done(struct fab_port *p, struct fab_op *op, size_t len, int err);
void ofi_engine_close(struct ofi_engine *e);

/* ---- ofi_mem.c: registrations and addresses ---- */

void *ofi_reg(struct fab_port *p, void *addr, size_t len, unsigned access);
void ofi_unreg(void *reg);
void ofi_tell(struct fab_port *p, void *reg, void *addr, struct fab_far *out);
int ofi_join(struct fab_lane *l, const uint8_t *name, size_t len);
void ofi_part(struct fab_lane *l);
void ofi_landed(void *peer);
void ofi_peers_free(struct ofi_port *p);

/* ---- ofi_shm.c: what the provider shm needs, see its head ---- */

bool ofi_shm_enter(struct ofi_port *p);     /* our name is known from here on; false: no memory */
bool ofi_shm_insert(struct ofi_port *p, struct ofi_peer *peer);   /* false: it is gone */
void ofi_shm_remove(struct ofi_port *p, struct ofi_peer *peer);
void ofi_shm_close(struct ofi_port *p, struct ofi_engine *e);   /* at once, or when no other of this process uses it */

#endif
