/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx.h - private structs of the transport ucx: fabrics through UCP, the protocols of UCX, for those that weft does not drive
 * itself (accelerated mlx5, DC). Lanes, frames and moves are transports/fabric's; this is its engine.
 *
 * Model. A port has a UCP context and a UCP worker of its own. Each lane has a UCP endpoint of its own (struct ucx_peer), so
 * that what UCX has in hand for one lane can be ended without the others': an endpoint that is closed by force gives
 * all of it back. All that goes over it are active messages, of two ids: those of transports/fabric, and pieces of large messages.
 *
 * UCP's own get and put are not used. Where no adapter does them UCX sends them to the owner of the memory, whose UCX reads or writes
 * at any address that comes, and ends the process when the answer cannot be sent (ADR 14). Instead a receiver asks for
 * each piece of a large message (WANT), and gets it as an active message that UCX carries as it likes: a long one by its
 * rendezvous, without copies, from the sender's buffer into the receiver's. The owner looks at each WANT before.
 *
 * UCX can close by force only endpoints that tell of errors (UCP_ERR_HANDLING_MODE_PEER), which not all of its transports do
 * (those over shared memory do not). Then lanes carry frames only: a buffer that UCX sends from could not be taken back.
 */
#ifndef WF_TRANSPORTS_UCX_H
#define WF_TRANSPORTS_UCX_H
#include "transports/fabric/fabric.h"
#include "transports/ucx/ucx_abi.h"

/* ---- ucx_lib.c: the library ---- */

struct ucx_lib {
	void (*get_version)(unsigned *major, unsigned *minor, unsigned *release);
	ucs_status_t (*config_read)(const char *prefix, const char *file, ucp_config_h *out);
	ucs_status_t (*config_modify)(ucp_config_h config, const char *name, const char *value);
	void (*config_release)(ucp_config_h config);
	ucs_status_t (*init)(unsigned api_major, unsigned api_minor, const struct ucp_params *params, ucp_config_h config,
			     ucp_context_h *out);
	void (*cleanup)(ucp_context_h context);
	ucs_status_t (*worker_create)(ucp_context_h context, const struct ucp_worker_params *params, ucp_worker_h *out);
	void (*worker_destroy)(ucp_worker_h worker);
	ucs_status_t (*worker_get_address)(ucp_worker_h worker, ucp_address_h *out, size_t *len_out);
	void (*worker_release_address)(ucp_worker_h worker, ucp_address_h address);
	ucs_status_t (*worker_get_efd)(ucp_worker_h worker, int *fd_out);
	ucs_status_t (*worker_arm)(ucp_worker_h worker);
	unsigned (*worker_progress)(ucp_worker_h worker);
	ucs_status_t (*set_am_handler)(ucp_worker_h worker, const struct ucp_am_handler_param *param);
	ucs_status_t (*ep_create)(ucp_worker_h worker, const struct ucp_ep_params *params, ucp_ep_h *out);
	ucs_status_ptr_t (*ep_close)(ucp_ep_h ep, const struct ucp_request_param *param);
	ucs_status_ptr_t (*worker_flush)(ucp_worker_h worker, const struct ucp_request_param *param);
	ucs_status_ptr_t (*ep_flush)(ucp_ep_h ep, const struct ucp_request_param *param);
	ucs_status_ptr_t (*am_send)(ucp_ep_h ep, unsigned id, const void *header, size_t header_len, const void *buf, size_t len,
				    const struct ucp_request_param *param);
	ucs_status_ptr_t (*am_recv)(ucp_worker_h worker, void *desc, void *buf, size_t len, const struct ucp_request_param *param);
	void (*request_free)(void *request);
	const char *(*status_string)(ucs_status_t status);
	void (*log_push_handler)(ucs_log_func_t *handler);
	void (*disable_signals)(void);
	struct ucm_global_config *ucm_opts;   /* these are NULL where somebody else had loaded UCX before */
	void (*ucm_init)(const void *opts);   /* without parameters up to 1.13 and some time after */
	ucs_status_t (*ucm_set_handler)(int events, int priority, ucm_event_callback_t *cb, void *arg);
	void (*ucm_unset_handler)(int events, ucm_event_callback_t *cb, void *arg);
};

/* Loaded when it is asked for first, then for ever; NULL, and why and remedy, when it is not here. Any thread. */
const struct ucx_lib *ucx_lib(char *why, size_t why_cap, char *remedy, size_t remedy_cap);
/* What the library said last in this thread about an error, or nothing; forgotten with that. */
void ucx_said(char *out, size_t cap);
/* A context, or why there is none. */
ucp_context_h ucx_context(const struct ucx_lib *lib, char *why, size_t cap);
int ucx_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap);

static inline bool ucx_is_err(ucs_status_ptr_t p)
{
	return (uintptr_t)p >= (uintptr_t)(intptr_t)UCS_ERR_LAST;
}

enum { UCX_AM_MESSAGE = 1, UCX_AM_PIECE = 2 };   /* ids of active messages */

#define UCX_REPLIES (4 * FAB_FLYING)     /* pieces of one buffer that are being sent; an honest peer asks for fewer */
#define UCX_LEAVE_NS (100 * WF_NS_PER_MS)   /* for the last frames of a lane that is closed, and for its peer to hear of that */
#define UCX_END_NS   (500 * WF_NS_PER_MS)   /* for all that UCX has in hand, at the end of a port */

/* ---- on the wire ---- */

enum { UCX_WANT = 1, UCX_DENY };         /* ucx_ask.what: send me that piece; its answer, when it is not there (any more) */

struct ucx_ask {                         /* behind a prefix of kind FAB_ENGINE */
	uint64_t piece;                  /*  0: the receiver's number of it */
	uint64_t reg, addr;              /*  8: of the sender's memory */
	uint32_t len;                    /* 24 */
	uint32_t what;                   /* 28 */
};
_Static_assert(sizeof(struct ucx_ask) == 32, "no padding on the wire");

struct ucx_head {                        /* of an active message that is a piece */
	uint64_t key, piece;             /* of the receiver's lane; as in WANT */
};

/* ---- in memory ---- */

struct ucx_port {
	struct fab_port fab;
	const struct ucx_lib *lib;
	ucp_context_h context;
	ucp_worker_h worker;
	ucp_address_h address;
	struct wf_watch watch;
	struct wf_list peers;
	uint32_t n_joining;              /* peers whose endpoint is not made yet */
	uint32_t n_leaving, n_closing;   /* peers that are not closed yet, though their lanes are; requests to close or to flush */
	struct wf_map wanted;            /* number -> struct fab_piece that was asked for and has not come */
	struct wf_map regs;              /* number, not to be guessed -> struct ucx_reg */
	uint64_t last_piece;
};

/* The endpoint of a lane. */
struct ucx_peer {
	struct wf_list link;             /* port->peers */
	struct ucx_port *port;
	struct fab_lane *lane;           /* NULL: it is closed */
	ucp_ep_h ep;                     /* NULL: it is not made yet, or closed */
	bool joining;                    /* it is not made yet */
	bool forces;                     /* it tells of errors, and can be closed by force */
	uint32_t busy;                   /* requests that name this struct; the last one frees it when lane and ep are NULL */
	uint64_t until;                  /* not 0: its lane is closed, and it will be then */
	uint8_t name[];                  /* the address that it leads to */
};

struct ucx_reg {                         /* a buffer that the peer may ask for */
	struct ucx_port *port;
	uint64_t id;
	uintptr_t addr;
	size_t len;
	uint32_t flying;                 /* pieces of it in UCX's hands; the last one frees it when it is dead */
	bool dead;
};

static inline struct ucx_port *ucx_port_of(struct fab_port *p)
{
	return (struct ucx_port *)(void *)p;
}

extern const struct fab_engine ucx_engine;

/* ---- ucx_ep.c: the worker of a port, the endpoints of its lanes ---- */

int ucx_ep_open(struct fab_port *p, char *why, size_t cap);
void ucx_ep_close(struct ucx_port *p);
int ucx_join(struct fab_lane *l, const uint8_t *name, size_t len);
void ucx_connect(struct ucx_port *p);      /* makes the endpoint of one that has joined; when nothing is left to progress */
void ucx_part(struct fab_lane *l);
void ucx_hush(struct fab_lane *l);
void ucx_leave(struct ucx_port *p, uint64_t now);   /* closes what has waited long enough for its last frames */
void ucx_landed(void *peer);               /* one request less names it */

/* ---- ucx_move.c: what goes over them ---- */

ucs_status_t ucx_on_message(void *arg, const void *header, size_t header_len, void *data, size_t len,
			    const struct ucp_am_recv_param *param);
ucs_status_t ucx_on_piece(void *arg, const void *header, size_t header_len, void *data, size_t len,
			  const struct ucp_am_recv_param *param);
int ucx_send(struct fab_lane *l, struct fab_buf *b, const void *bytes, size_t len);
int ucx_move(struct fab_port *p, struct fab_piece *piece, void *near, size_t len, void *reg, const struct fab_far *far);
void ucx_heard(struct fab_lane *l, const uint8_t *bytes, size_t len);
void ucx_want_no_more(struct ucx_peer *r, ucs_status_t status);   /* of it */
void *ucx_reg(struct fab_port *p, void *addr, size_t len, unsigned access);
void ucx_unreg(void *reg);
bool ucx_is_quiet(void *reg);
void ucx_tell(struct fab_port *p, void *reg, void *addr, struct fab_far *out);

#endif
