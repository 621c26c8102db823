/* SPDX-License-Identifier: BSD-3-Clause
 *
 * err.c - weft.Error and its classes, one for each status of WEFT_STATUS_MAP.
 *
 * Each class derives from Error and, where Python has a word for it, from that builtin too, so that programs written
 * for sockets keep their except clauses. The text of an exception is weft's own line; its parts are attributes.
 */
#include "wpy.h"

#define N_STATUS (1 - WEFT_STATUS_MIN_)

static PyObject *base;
static PyObject *classes[N_STATUS];

static const struct {
	const char *name;
	PyObject **also;
} table[N_STATUS] = {
	[-WEFT_EINVAL] = { "InvalidError", &PyExc_ValueError },
	[-WEFT_ENOMEM] = { "OutOfMemoryError", &PyExc_MemoryError },
	[-WEFT_ESETTING] = { "SettingError", &PyExc_ValueError },
	[-WEFT_EURL] = { "URLError", &PyExc_ValueError },
	[-WEFT_EBUSY] = { "BusyError", &PyExc_BufferError },
	[-WEFT_ETHREAD] = { "ThreadError", &PyExc_RuntimeError },
	[-WEFT_EFORKED] = { "ForkedError", &PyExc_RuntimeError },
	[-WEFT_ESTALE] = { "StaleError", &PyExc_LookupError },
	[-WEFT_ENOTSUP] = { "NotSupportedError", &PyExc_NotImplementedError },
	[-WEFT_EADDRINUSE] = { "AddressInUseError", &PyExc_OSError },
	[-WEFT_ELIMIT] = { "LimitError", &PyExc_OSError },
	[-WEFT_ESYSTEM] = { "SystemRefusedError", &PyExc_OSError },
	[-WEFT_ECANCELED] = { "CanceledError", NULL },
	[-WEFT_ETIMEDOUT] = { "TimedOutError", &PyExc_TimeoutError },
	[-WEFT_ETRUNCATED] = { "TruncatedError", NULL },
	[-WEFT_EACCESS] = { "AccessError", &PyExc_PermissionError },
	[-WEFT_EBOUNDS] = { "BoundsError", &PyExc_IndexError },
	[-WEFT_EREVOKED] = { "RevokedError", &PyExc_PermissionError },
	[-WEFT_ECLOSED] = { "ClosedError", &PyExc_ConnectionError },
	[-WEFT_ERESET] = { "ResetError", &PyExc_ConnectionResetError },
	[-WEFT_EREFUSED] = { "RefusedError", &PyExc_ConnectionRefusedError },
	[-WEFT_EUNREACHABLE] = { "UnreachableError", &PyExc_ConnectionError },
	[-WEFT_EREJECTED] = { "RejectedError", &PyExc_ConnectionRefusedError },
	[-WEFT_EPROTO] = { "ProtocolError", &PyExc_ConnectionError },
	[-WEFT_EVERSION] = { "VersionError", &PyExc_ConnectionError },
	[-WEFT_EABORTED] = { "AbortedError", &PyExc_ConnectionAbortedError },
};

#define STATUS_ROW(name, value, scope, text) { #name, "WEFT_" #name, WEFT_##name, WEFT_SCOPE_##scope, text },
static const struct {
	const char *short_name, *name;
	int32_t status;
	uint32_t scope;
	const char *text;
} statuses[] = { WEFT_STATUS_MAP(STATUS_ROW) };

#define N_ROWS (sizeof(statuses) / sizeof(statuses[0]))

static const char *const scopes[] = { "", "call", "operation", "endpoint", "worker" };

uint32_t wpy_status_scope(int status)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (statuses[i].status == status)
			return statuses[i].scope;
	return WEFT_SCOPE_CALL;
}

static int set(PyObject *o, const char *name, PyObject *value)
{
	int ret = value ? PyObject_SetAttrString(o, name, value) : -1;

	Py_XDECREF(value);
	return ret;
}

static PyObject *text_or_none(const char *s)
{
	return s ? PyUnicode_DecodeUTF8(s, (Py_ssize_t)strlen(s), "replace") : Py_NewRef(Py_None);
}

static int add_class(PyObject *mod, size_t row)
{
	size_t at = (size_t)-statuses[row].status;
	char name[64], full[80];
	PyObject *bases, *dict, *cls;

	snprintf(name, sizeof(name), "%s", table[at].name ? table[at].name : statuses[row].short_name);
	snprintf(full, sizeof(full), "weft.%s", name);
	bases = table[at].also ? PyTuple_Pack(2, base, *table[at].also) : PyTuple_Pack(1, base);
	dict = Py_BuildValue("{s:i,s:s,s:s}", "status", statuses[row].status, "status_name", statuses[row].name,
			     "scope", scopes[statuses[row].scope]);
	cls = bases && dict ? PyErr_NewExceptionWithDoc(full, statuses[row].text, bases, dict) : NULL;
	Py_XDECREF(bases);
	Py_XDECREF(dict);
	if (!cls)
		return -1;
	classes[at] = cls;
	return PyModule_AddObjectRef(mod, name, cls);
}

int wpy_err_init(PyObject *mod)
{
	PyObject *dict = Py_BuildValue("{s:i,s:s,s:s,s:O,s:O,s:O}", "status", 0, "status_name", "", "scope", "",
				       "object", Py_None, "cause", Py_None, "remedy", Py_None);

	if (!dict)
		return -1;
	base = PyErr_NewExceptionWithDoc("weft.Error",
		"What weft reports. status, status_name, scope (what it breaks: \"call\", \"operation\", \"endpoint\" or\n"
		"\"worker\"), object, cause, remedy (or None).", NULL, dict);
	Py_DECREF(dict);
	if (!base || PyModule_AddObjectRef(mod, "Error", base))
		return -1;
	for (size_t i = 0; i < N_ROWS; i++)
		if (add_class(mod, i))
			return -1;
	return 0;
}

/* The class's text stands in where there are no words. */
static PyObject *make(int status, const weft_error *e, const char *line)
{
	PyObject *cls = status <= 0 && status >= WEFT_STATUS_MIN_ && classes[-status] ? classes[-status] : base;
	PyObject *text = text_or_none(line), *exc;

	exc = text ? PyObject_CallOneArg(cls, text) : NULL;
	Py_XDECREF(text);
	if (!exc)
		return NULL;
	if (set(exc, "object", text_or_none(e->object)) || set(exc, "cause", text_or_none(e->cause)) ||
	    set(exc, "remedy", text_or_none(e->remedy)))
		goto drop;
	if (e->sys_errno && set(exc, "errno", PyLong_FromLong(e->sys_errno)))
		goto drop;
	if (cls == base && set(exc, "status", PyLong_FromLong(status)))
		goto drop;
	return exc;

drop:
	Py_DECREF(exc);
	return NULL;
}

static PyObject *from_error(int status, const weft_error *e)
{
	char line[1024];

	weft_error_text(e, line, sizeof(line));
	return make(status, e, line);
}

PyObject *wpy_exc_refused(int status)
{
	const weft_error *e = weft_last_error();

	if (e->status != status)
		return wpy_exc_make(status, NULL, NULL, NULL);
	return from_error(status, e);
}

PyObject *wpy_exc_truncated(PyObject *exc, uint64_t len, uint64_t delivered, uint64_t tag)
{
	if (!exc || (!set(exc, "length", PyLong_FromUnsignedLongLong(len)) &&
		     !set(exc, "delivered", PyLong_FromUnsignedLongLong(delivered)) &&
		     !set(exc, "tag", PyLong_FromUnsignedLongLong(tag))))
		return exc;
	Py_DECREF(exc);
	return NULL;
}

PyObject *wpy_exc_event(const weft_event *e)
{
	PyObject *exc = from_error(e->status, weft_event_error(e));

	return e->status == WEFT_ETRUNCATED ? wpy_exc_truncated(exc, e->len, e->value, e->tag) : exc;
}

PyObject *wpy_exc_make(int status, const char *object, const char *cause, const char *remedy)
{
	weft_error e = { .size = sizeof(e), .status = status, .scope = wpy_status_scope(status), .object = object,
			 .cause = cause, .remedy = remedy };
	char line[1024];

	for (size_t i = 0; !e.cause && i < N_ROWS; i++)
		if (statuses[i].status == status)
			e.cause = statuses[i].text;
	snprintf(line, sizeof(line), "%s%s%s (%s)%s%s", object ? object : "", object ? ": " : "",
		 e.cause ? e.cause : "failed", weft_status_name(status), remedy ? "; " : "", remedy ? remedy : "");
	return make(status, &e, line);
}

PyObject *wpy_exc_again(PyObject *exc)
{
	PyObject *args = PyObject_GetAttrString(exc, "args"), *twin, *from, *to;
	int ret = -1;

	twin = args ? PyObject_Call((PyObject *)Py_TYPE(exc), args, NULL) : NULL;
	Py_XDECREF(args);
	if (!twin)
		return NULL;
	from = PyObject_GetAttrString(exc, "__dict__");
	to = PyObject_GetAttrString(twin, "__dict__");
	if (from && to)
		ret = PyDict_Update(to, from);
	Py_XDECREF(from);
	Py_XDECREF(to);
	if (!ret)
		return twin;
	Py_DECREF(twin);
	return NULL;
}

void wpy_raise(PyObject *exc)
{
	if (!exc)
		return;
	PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
	Py_DECREF(exc);
}

PyObject *wpy_raise_refused(int status)
{
	wpy_raise(wpy_exc_refused(status));
	return NULL;
}

/* _error(status, object, cause, remedy): an exception for the Python part to raise. */
PyObject *wpy_make_error(PyObject *Py_UNUSED(mod), PyObject *args)
{
	const char *name, *object, *cause, *remedy;

	if (!PyArg_ParseTuple(args, "szzz", &name, &object, &cause, &remedy))
		return NULL;
	for (size_t i = 0; i < N_ROWS; i++)
		if (!strcmp(statuses[i].short_name, name))
			return wpy_exc_make(statuses[i].status, object, cause, remedy);
	PyErr_SetString(PyExc_KeyError, name);
	return NULL;
}
