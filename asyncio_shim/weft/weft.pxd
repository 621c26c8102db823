# SPDX-License-Identifier: BSD-3-Clause
# The C API of weft/weft.h for Cython: `from weft cimport weft as w`, compiled with -I weft.get_include() and linked with
# libweft.so.0 from weft.get_library_dir(). What the functions promise stands in weft.h.
from libc.stdint cimport int16_t, int32_t, uint16_t, uint32_t, uint64_t

cdef extern from "weft/weft.h" nogil:
    ctypedef struct weft_ctx:
        pass
    ctypedef struct weft_config:
        pass
    ctypedef struct weft_worker:
        pass
    ctypedef struct weft_listener:
        pass
    ctypedef struct weft_request:
        pass
    ctypedef struct weft_ep:
        pass
    ctypedef struct weft_mem:
        pass
    ctypedef struct weft_remote:
        pass
    ctypedef struct weft_message:
        pass
    ctypedef struct weft_op:
        uint64_t v
    ctypedef struct weft_grant:
        uint64_t v

    enum:
        WEFT_OK
        WEFT_PENDING
        WEFT_AGAIN
        WEFT_EINVAL
        WEFT_ENOMEM
        WEFT_ESETTING
        WEFT_EURL
        WEFT_EBUSY
        WEFT_ETHREAD
        WEFT_EFORKED
        WEFT_ESTALE
        WEFT_ENOTSUP
        WEFT_EADDRINUSE
        WEFT_ELIMIT
        WEFT_ESYSTEM
        WEFT_ECANCELED
        WEFT_ETIMEDOUT
        WEFT_ETRUNCATED
        WEFT_EACCESS
        WEFT_EBOUNDS
        WEFT_EREVOKED
        WEFT_ECLOSED
        WEFT_ERESET
        WEFT_EREFUSED
        WEFT_EUNREACHABLE
        WEFT_EREJECTED
        WEFT_EPROTO
        WEFT_EVERSION
        WEFT_EABORTED
        WEFT_SCOPE_CALL
        WEFT_SCOPE_OP
        WEFT_SCOPE_EP
        WEFT_SCOPE_WORKER
        WEFT_HOST
        WEFT_CUDA
        WEFT_ROCM
        WEFT_KIND_AUTO
        WEFT_SYNC
        WEFT_COPY
        WEFT_BY_HANDLE
        WEFT_NO_EVENT
        WEFT_ALL
        WEFT_SHARED
        WEFT_WANT_STREAM
        WEFT_READ
        WEFT_WRITE
        WEFT_ATOMIC
        WEFT_ATOMIC_ADD
        WEFT_ATOMIC_AND
        WEFT_ATOMIC_OR
        WEFT_ATOMIC_XOR
        WEFT_ATOMIC_SWAP
        WEFT_ATOMIC_CAS
        WEFT_ATOMIC_32BIT
        WEFT_EV_OP
        WEFT_EV_CONNECTED
        WEFT_EV_REQUEST
        WEFT_EV_AM
        WEFT_EV_STREAM
        WEFT_EV_SIGNAL
        WEFT_EV_DOWN
        WEFT_EV_LISTENER
        WEFT_LOG_ERROR
        WEFT_LOG_WARN
        WEFT_LOG_INFO
        WEFT_LOG_DEBUG
        WEFT_LOG_TRACE

    ctypedef struct weft_buf:
        void *addr
        size_t len
        weft_mem *mem
        uint16_t kind
        int16_t device
        uint32_t reserved

    ctypedef struct weft_event:
        uint32_t size, kind
        int32_t status
        uint32_t path
        uint64_t user_data
        weft_op op
        weft_ep *ep
        uint64_t tag, len
        uint64_t value
        void *data
        size_t data_len

    ctypedef struct weft_call:
        uint32_t size, flags
        uint64_t user_data
        uint64_t deadline_ns
        void *stream
        weft_ep *from_ "from"
        weft_op op
        weft_event event

    ctypedef struct weft_error:
        uint32_t size
        int32_t status
        int sys_errno
        uint32_t scope
        const char *object
        const char *cause
        const char *remedy

    ctypedef struct weft_rma:
        weft_buf local
        weft_remote *remote
        uint64_t offset
        uint32_t is_get, reserved

    ctypedef struct weft_worker_opts:
        uint32_t size, flags
        uint32_t ops_max
        uint32_t reserved

    ctypedef struct weft_conn_opts:
        uint32_t size, flags
        uint64_t user_data
        const char *auth
        const char *allow
        uint64_t deadline_ns

    ctypedef void (*weft_log_fn)(void *arg, int level, const char *line) noexcept
    ctypedef void (*weft_am_fn)(void *arg, weft_worker *w, const weft_event *am) noexcept

    uint32_t weft_version()
    const char *weft_status_name(int32_t status)
    const weft_error *weft_last_error()
    const weft_error *weft_event_error(const weft_event *e)
    size_t weft_error_text(const weft_error *e, char *out, size_t cap)
    int weft_config_new(weft_config **out)
    int weft_config_set(weft_config *c, const char *key, const char *value)
    int weft_config_get(const weft_config *c, const char *key, char *value, size_t cap, const char **origin)
    void weft_config_free(weft_config *c)
    int weft_open(const weft_config *c, weft_ctx **out)
    int weft_close(weft_ctx *ctx)
    int weft_calibrate(weft_ctx *ctx, const char *path, uint64_t budget_ns)
    void weft_log_set(weft_ctx *ctx, weft_log_fn fn, void *arg, int level)
    int weft_worker_new(weft_ctx *ctx, const weft_worker_opts *o, weft_worker **out)
    int weft_worker_free(weft_worker *w)
    int weft_progress(weft_worker *w)
    size_t weft_reap(weft_worker *w, weft_event *out, size_t cap)
    void weft_event_release(weft_worker *w, weft_event *e)
    int weft_wait_any(weft_worker *w, uint64_t deadline_ns)
    int weft_worker_fd(weft_worker *w)
    int weft_arm(weft_worker *w)
    int weft_wake(weft_worker *w)
    int weft_resolve(const char *url, char *out, size_t cap)
    int weft_listen(weft_worker *w, const char *url, const weft_conn_opts *o, weft_listener **out)
    int weft_listener_url(const weft_listener *l, char *out, size_t cap)
    int weft_listener_close(weft_listener *l)
    int weft_accept(weft_request *r, weft_worker *w, const weft_conn_opts *o, weft_ep **out)
    int weft_reject(weft_request *r, int32_t why, const char *text)
    int weft_connect(weft_worker *w, const char *url, const weft_conn_opts *o, weft_ep **out)
    int weft_address(weft_worker *w, void *out, size_t *len)
    int weft_connect_address(weft_worker *w, const void *address, size_t len, const weft_conn_opts *o, weft_ep **out)
    int weft_ep_close(weft_ep *ep, weft_call *call)
    int weft_ep_abort(weft_ep *ep)
    void weft_ep_set_user_data(weft_ep *ep, uint64_t user_data)
    int weft_ep_peer(const weft_ep *ep, char *out, size_t cap)
    int weft_ep_local(const weft_ep *ep, char *out, size_t cap)
    int weft_mem_register(weft_ctx *ctx, const weft_buf *b, uint32_t access, weft_mem **out)
    int weft_mem_alloc(weft_ctx *ctx, size_t len, uint16_t kind, int16_t device, weft_mem **out)
    int weft_mem_import(weft_ctx *ctx, int dmabuf_fd, uint64_t offset, size_t len, uint16_t kind, int16_t device, weft_mem **out)
    void *weft_mem_addr(const weft_mem *m, size_t *len)
    int weft_mem_free(weft_mem *m)
    int weft_grant_new(weft_mem *m, uint64_t offset, uint64_t len, uint32_t access, weft_ep *only, void *token, size_t *token_len, weft_grant *out)
    int weft_grant_revoke(weft_mem *m, weft_grant g, weft_call *call)
    int weft_remote_open(weft_ep *ep, const void *token, size_t token_len, weft_remote **out)
    void weft_remote_close(weft_remote *r)
    int weft_send(weft_ep *ep, const weft_buf *b, size_t n, uint64_t tag, weft_call *call)
    int weft_recv(weft_worker *w, const weft_buf *b, size_t n, uint64_t tag, uint64_t mask, weft_call *call)
    int weft_probe(weft_worker *w, uint64_t tag, uint64_t mask, weft_call *call, weft_message **take)
    int weft_recv_message(weft_message *m, const weft_buf *b, size_t n, weft_call *call)
    int weft_am_send(weft_ep *ep, uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n, weft_call *call)
    int weft_am_recv(weft_worker *w, weft_event *am, const weft_buf *b, size_t n, weft_call *call)
    int weft_am_bind(weft_worker *w, uint32_t id, weft_am_fn fn, void *arg)
    int weft_stream_send(weft_ep *ep, const weft_buf *b, size_t n, weft_call *call)
    int weft_stream_recv(weft_ep *ep, const weft_buf *b, size_t n, weft_call *call)
    int weft_put(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *call)
    int weft_get(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *call)
    int weft_rma_batch(weft_ep *ep, const weft_rma *v, size_t n, weft_call *call)
    int weft_put_signal(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, uint64_t signal, weft_call *call)
    int weft_atomic(weft_ep *ep, uint32_t what, weft_remote *r, uint64_t offset, uint64_t operand, uint64_t compare, weft_call *call)
    int weft_fence(weft_ep *ep)
    int weft_flush(weft_worker *w, weft_ep *ep_or_null, weft_call *call)
    int weft_test(weft_worker *w, weft_op op, weft_event *out)
    int weft_wait(weft_worker *w, weft_op op, uint64_t deadline_ns, weft_event *out)
    int weft_cancel(weft_worker *w, weft_op op)
    int weft_explain(weft_ctx *ctx, weft_ep *ep_or_null, const char *url_or_null, int json, char *out, size_t *len)
    int weft_stats(weft_ctx *ctx, const void *worker_ep_or_null, char *out, size_t *len)
    int weft_trace_start(weft_ctx *ctx, int fd)
    int weft_trace_stop(weft_ctx *ctx)
    int weft_after_fork(weft_ctx *ctx)
