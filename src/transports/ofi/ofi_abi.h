/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_abi.h - the part of libfabric's interface that we use, under its own names, so that weft is built without
 * libfabric's headers and runs with and without the library. Six functions are looked up in libfabric.so.1 (ofi_lib.c); all
 * others are calls through tables that hang on the objects.
 *
 * The structs are laid out as in ABI 1.3 and later (libfabric 1.8 of 2019, and so on to 2.x): later versions append members
 * only. We never allocate one that a library may have made longer: infos come from fi_dupinfo() and fi_getinfo(). Where a
 * table ends with rows that we do not call they are left out. tests/unit/test_ofi_abi.c holds sizes, places and numbers to
 * the real headers, where those are installed.
 */
#ifndef WF_TRANSPORTS_OFI_ABI_H
#define WF_TRANSPORTS_OFI_ABI_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FI_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))
#define FI_MAJOR(version) ((version) >> 16)
#define FI_MINOR(version) ((version) & 0xffff)

#define FI_ADDR_UNSPEC UINT64_MAX

/* capabilities, and flags of operations */
#define FI_MSG               (1ull << 1)
#define FI_RMA               (1ull << 2)
#define FI_READ              (1ull << 8)
#define FI_WRITE             (1ull << 9)
#define FI_RECV              (1ull << 10)
#define FI_SEND              (1ull << 11)
#define FI_TRANSMIT          FI_SEND
#define FI_REMOTE_READ       (1ull << 12)
#define FI_REMOTE_WRITE      (1ull << 13)
#define FI_COMPLETION        (1ull << 24)
#define FI_DELIVERY_COMPLETE (1ull << 28)

/* modes: what the provider asks of us */
#define FI_CONTEXT           (1ull << 59)
#define FI_CONTEXT2          (1ull << 52)

#define FI_ORDER_SAS         (1ull << 8)

#define FI_MR_LOCAL          (1 << 2)
#define FI_MR_VIRT_ADDR      (1 << 4)
#define FI_MR_ALLOCATED      (1 << 5)
#define FI_MR_PROV_KEY       (1 << 6)
#define FI_MR_ENDPOINT       (1 << 9)

enum { FI_SOCKADDR = 1, FI_SOCKADDR_IB = 4 };    /* fi_info.addr_format: between them begins a struct sockaddr */
enum fi_av_type { FI_AV_UNSPEC, FI_AV_MAP, FI_AV_TABLE };
enum fi_progress { FI_PROGRESS_UNSPEC, FI_PROGRESS_AUTO, FI_PROGRESS_MANUAL };
enum fi_threading { FI_THREAD_UNSPEC, FI_THREAD_SAFE, FI_THREAD_FID, FI_THREAD_DOMAIN };
enum fi_resource_mgmt { FI_RM_UNSPEC, FI_RM_DISABLED, FI_RM_ENABLED };
enum fi_ep_type { FI_EP_UNSPEC, FI_EP_MSG, FI_EP_DGRAM, FI_EP_RDM };
enum fi_wait_obj { FI_WAIT_NONE, FI_WAIT_UNSPEC, FI_WAIT_SET, FI_WAIT_FD };
enum fi_cq_format { FI_CQ_FORMAT_UNSPEC, FI_CQ_FORMAT_CONTEXT, FI_CQ_FORMAT_MSG };
enum fi_cq_wait_cond { FI_CQ_COND_NONE };
enum { FI_GETWAIT = 5, FI_ENABLE = 6 };         /* of fi_ops.control */

enum { FI_EAGAIN = 11, FI_ENODATA = 61, FI_ECANCELED = 125, FI_EAVAIL = 259 };   /* as everywhere: errno where there is one */

typedef uint64_t fi_addr_t;

struct fid;
struct fid_fabric;
struct fid_domain;
struct fid_ep;
struct fid_av;
struct fid_cq;
struct fid_mr;
struct fid_nic;

/* ---- what a provider is and can do ---- */

struct fi_tx_attr {
	uint64_t caps, mode, op_flags, msg_order, comp_order;
	size_t inject_size, size, iov_limit, rma_iov_limit;
	uint32_t tclass;
};

struct fi_rx_attr {
	uint64_t caps, mode, op_flags, msg_order, comp_order;
	size_t total_buffered_recv, size, iov_limit;
};

struct fi_ep_attr {
	enum fi_ep_type type;
	uint32_t protocol, protocol_version;
	size_t max_msg_size, msg_prefix_size;
	size_t max_order_raw_size, max_order_war_size, max_order_waw_size;
	uint64_t mem_tag_format;
	size_t tx_ctx_cnt, rx_ctx_cnt, auth_key_size;
	uint8_t *auth_key;
};

struct fi_domain_attr {
	struct fid_domain *domain;
	char *name;
	enum fi_threading threading;
	enum fi_progress control_progress, data_progress;
	enum fi_resource_mgmt resource_mgmt;
	enum fi_av_type av_type;
	int mr_mode;
	size_t mr_key_size;             /* the rest is longer than this, and not ours to know */
};

struct fi_fabric_attr {
	struct fid_fabric *fabric;
	char *name, *prov_name;
	uint32_t prov_version, api_version;
};

struct fi_info {
	struct fi_info *next;
	uint64_t caps, mode;
	uint32_t addr_format;
	size_t src_addrlen, dest_addrlen;
	void *src_addr, *dest_addr;
	struct fid *handle;
	struct fi_tx_attr *tx_attr;
	struct fi_rx_attr *rx_attr;
	struct fi_ep_attr *ep_attr;
	struct fi_domain_attr *domain_attr;
	struct fi_fabric_attr *fabric_attr;
	struct fid_nic *nic;
};

/* ---- objects: each begins with a fid ---- */

struct fi_ops {
	size_t size;
	int (*close)(struct fid *fid);
	int (*bind)(struct fid *fid, struct fid *bfid, uint64_t flags);
	int (*control)(struct fid *fid, int command, void *arg);
};

struct fid {
	size_t fclass;
	void *context;
	struct fi_ops *ops;
};

struct fi_ops_fabric {
	size_t size;
	int (*domain)(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **out, void *context);
	void *passive_ep, *eq_open, *wait_open;
	int (*trywait)(struct fid_fabric *fabric, struct fid **fids, int count);
};

struct fid_fabric {
	struct fid fid;
	struct fi_ops_fabric *ops;
	uint32_t api_version;
};

struct fi_av_attr {
	enum fi_av_type type;
	int rx_ctx_bits;
	size_t count, ep_per_node;
	const char *name;
	void *map_addr;
	uint64_t flags;
};

struct fi_cq_attr {
	size_t size;
	uint64_t flags;
	enum fi_cq_format format;
	enum fi_wait_obj wait_obj;
	int signaling_vector;
	enum fi_cq_wait_cond wait_cond;
	void *wait_set;
};

struct fi_ops_domain {
	size_t size;
	int (*av_open)(struct fid_domain *domain, struct fi_av_attr *attr, struct fid_av **out, void *context);
	int (*cq_open)(struct fid_domain *domain, struct fi_cq_attr *attr, struct fid_cq **out, void *context);
	int (*endpoint)(struct fid_domain *domain, struct fi_info *info, struct fid_ep **out, void *context);
};

struct fi_ops_mr {
	size_t size;
	int (*reg)(struct fid *domain, const void *buf, size_t len, uint64_t access, uint64_t offset, uint64_t requested_key,
		   uint64_t flags, struct fid_mr **out, void *context);
};

struct fid_domain {
	struct fid fid;
	struct fi_ops_domain *ops;
	struct fi_ops_mr *mr;
};

struct fid_mr {
	struct fid fid;
	void *mem_desc;
	uint64_t key;
};

struct fi_ops_av {
	size_t size;
	int (*insert)(struct fid_av *av, const void *addr, size_t count, fi_addr_t *out, uint64_t flags, void *context);
	void *insertsvc, *insertsym;
	int (*remove)(struct fid_av *av, fi_addr_t *addr, size_t count, uint64_t flags);
	void *lookup;
	const char *(*straddr)(struct fid_av *av, const void *addr, char *buf, size_t *len);
};

struct fid_av {
	struct fid fid;
	struct fi_ops_av *ops;
};

/* ---- completions ---- */

struct fi_cq_msg_entry {
	void *op_context;
	uint64_t flags;
	size_t len;
};

struct fi_cq_err_entry {
	void *op_context;
	uint64_t flags;
	size_t len;
	void *buf;
	uint64_t data, tag;
	size_t olen;
	int err, prov_errno;
	void *err_data;
	size_t err_data_size;
	uint64_t later[4];               /* room for what later versions append, which a library may write */
};

struct fi_ops_cq {
	size_t size;
	ssize_t (*read)(struct fid_cq *cq, void *buf, size_t count);
	void *readfrom;
	ssize_t (*readerr)(struct fid_cq *cq, struct fi_cq_err_entry *out, uint64_t flags);
	void *sread, *sreadfrom, *signal;
	const char *(*strerror)(struct fid_cq *cq, int prov_errno, const void *err_data, char *buf, size_t len);
};

struct fid_cq {
	struct fid fid;
	struct fi_ops_cq *ops;
};

/* ---- endpoints ---- */

struct fi_context2 {                     /* the provider's, for as long as an operation lasts */
	void *internal[8];
};

struct fi_ops_cm {
	size_t size;
	void *setname;
	int (*getname)(struct fid *fid, void *addr, size_t *len);
};

struct fi_ops_msg {
	size_t size;
	ssize_t (*recv)(struct fid_ep *ep, void *buf, size_t len, void *desc, fi_addr_t from, void *context);
	void *recvv, *recvmsg;
	ssize_t (*send)(struct fid_ep *ep, const void *buf, size_t len, void *desc, fi_addr_t to, void *context);
	void *sendv, *sendmsg;
	ssize_t (*inject)(struct fid_ep *ep, const void *buf, size_t len, fi_addr_t to);
};

struct fi_rma_iov {
	uint64_t addr;
	size_t len;
	uint64_t key;
};

struct fi_msg_rma {
	const struct iovec *msg_iov;
	void **desc;
	size_t iov_count;
	fi_addr_t addr;
	const struct fi_rma_iov *rma_iov;
	size_t rma_iov_count;
	void *context;
	uint64_t data;
};

struct fi_ops_rma {
	size_t size;
	void *read, *readv;
	ssize_t (*readmsg)(struct fid_ep *ep, const struct fi_msg_rma *msg, uint64_t flags);
	void *write, *writev;
	ssize_t (*writemsg)(struct fid_ep *ep, const struct fi_msg_rma *msg, uint64_t flags);
};

struct fid_ep {
	struct fid fid;
	void *ops;
	struct fi_ops_cm *cm;
	struct fi_ops_msg *msg;
	struct fi_ops_rma *rma;
};

#endif
