/* SPDX-License-Identifier: BSD-3-Clause
 *
 * module.c - the module weft._weft: the one weft context of the process, opened on first use, and what needs no endpoint.
 */
#include "wpy.h"

weft_ctx *wpy_ctx;
PyObject *wpy_incomplete_read, *wpy_cancelled, *wpy_get_running_loop, *wpy_current_task, *wpy_dumps, *wpy_loads;

static weft_config *config;

/* "20us" and the like, as weft prints them. */
static uint64_t time_of(const char *text)
{
	static const struct { const char *unit; double ns; } units[] = {
		{ "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 },
	};
	char *end;
	double v = strtod(text, &end);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(end, units[i].unit))
			return (uint64_t)(v * units[i].ns);
	return (uint64_t)v;
}

int wpy_ctx_open(void)
{
	char spin[64];
	int ret = 0;

	if (wpy_ctx)
		return 0;
	if (!config)
		ret = weft_config_new(&config);
	if (!ret)
		ret = weft_open(config, &wpy_ctx);
	if (ret) {
		wpy_ctx = NULL;
		wpy_raise_refused(ret);
		return -1;
	}
	if (!weft_config_get(config, "spin", spin, sizeof(spin), NULL))
		wpy_set_spin(time_of(spin));
	return 0;
}

/* configure(**settings): before anything else. */
static PyObject *configure(PyObject *Py_UNUSED(mod), PyObject *args, PyObject *kw)
{
	PyObject *key, *value, *text;
	Py_ssize_t at = 0;
	int ret;

	if (PyTuple_GET_SIZE(args)) {
		PyErr_SetString(PyExc_TypeError, "configure() takes settings by keyword: configure(transports=\"tcp\")");
		return NULL;
	}
	if (wpy_ctx) {
		PyErr_SetString(PyExc_RuntimeError, "configure() must come before weft is used for the first time");
		return NULL;
	}
	if (!config && (ret = weft_config_new(&config))) {
		config = NULL;
		return wpy_raise_refused(ret);
	}
	while (kw && PyDict_Next(kw, &at, &key, &value)) {
		if (PyBool_Check(value))
			text = PyUnicode_FromString(value == Py_True ? "yes" : "no");
		else
			text = PyObject_Str(value);
		if (!text || !PyUnicode_AsUTF8(text)) {
			Py_XDECREF(text);
			return NULL;
		}
		ret = weft_config_set(config, PyUnicode_AsUTF8(key), PyUnicode_AsUTF8(text));
		Py_DECREF(text);
		if (ret)
			return wpy_raise_refused(ret);
	}
	Py_RETURN_NONE;
}

/* settings() -> {name: (value, origin)} */
static PyObject *settings(PyObject *Py_UNUSED(mod), PyObject *Py_UNUSED(unused))
{
	char number[16], name[64], value[512];
	PyObject *dict, *pair;
	const char *origin;
	int ret = 0;

	if (!config && (ret = weft_config_new(&config))) {
		config = NULL;
		return wpy_raise_refused(ret);
	}
	dict = PyDict_New();
	for (int i = 0; dict && i < 64; i++) {
		snprintf(number, sizeof(number), "#%d", i);
		if (weft_config_get(config, number, name, sizeof(name), NULL) ||
		    weft_config_get(config, name, value, sizeof(value), &origin))
			break;
		pair = Py_BuildValue("(ss)", value, origin);
		if (!pair || PyDict_SetItemString(dict, name, pair))
			Py_CLEAR(dict);
		Py_XDECREF(pair);
	}
	return dict;
}

enum { EXPLAIN, STATS };

/* Text of a function that says how much room it needs. */
static PyObject *long_text(int which, const char *url, int json)
{
	size_t len = 8192;
	char *out = NULL, *more;
	PyObject *text;
	int ret = WEFT_EINVAL;

	for (int i = 0; i < 4 && ret == WEFT_EINVAL; i++) {
		more = PyMem_Realloc(out, len + 1);
		if (!more) {
			PyMem_Free(out);
			return PyErr_NoMemory();
		}
		out = more;
		if (which == EXPLAIN)
			ret = weft_explain(wpy_ctx, NULL, url, json, out, &len);
		else
			ret = weft_stats(wpy_ctx, NULL, out, &len);
		len += ret == WEFT_EINVAL;
	}
	text = ret ? wpy_raise_refused(ret) : PyUnicode_DecodeUTF8(out, (Py_ssize_t)len, "replace");
	PyMem_Free(out);
	return text;
}

static PyObject *explain(PyObject *Py_UNUSED(mod), PyObject *args, PyObject *kw)
{
	static char *names[] = { "url", "json", NULL };
	const char *url = NULL;
	int json = 0;

	if (!PyArg_ParseTupleAndKeywords(args, kw, "|zp:explain", names, &url, &json) || wpy_ctx_open())
		return NULL;
	return long_text(EXPLAIN, url, json);
}

static PyObject *stats(PyObject *Py_UNUSED(mod), PyObject *Py_UNUSED(unused))
{
	return wpy_ctx_open() ? NULL : long_text(STATS, NULL, 0);
}

static PyObject *version(PyObject *Py_UNUSED(mod), PyObject *Py_UNUSED(unused))
{
	uint32_t v = weft_version();

	return PyUnicode_FromFormat("%u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
}

static PyMethodDef methods[] = {
	WPY_FAST("_connect", wpy_connect, NULL),
	WPY_FAST("_connect_now", wpy_connect_now, NULL),
	WPY_FAST("_listen", wpy_listen, NULL),
	WPY_FAST("register", wpy_register, "register(buf) -> Memory\n\nMakes the caller's memory grantable."),
	WPY_FAST("alloc", wpy_alloc, "alloc(nbytes) -> Memory\n\nZeroed memory that local peers can map: the fastest there is."),
	{ "configure", WPY_CAST(configure), METH_VARARGS | METH_KEYWORDS, "configure(**settings)\n\nBefore the first use." },
	{ "settings", settings, METH_NOARGS, "settings() -> dict\n\nEach setting's value and where it comes from." },
	{ "explain", WPY_CAST(explain), METH_VARARGS | METH_KEYWORDS, "explain(url=None, json=False) -> str\n\nTransports, and "
	  "why not; with a URL: how it would be reached." },
	{ "stats", stats, METH_NOARGS, "stats() -> str\n\nCounters of all loops, JSON." },
	{ "version", version, METH_NOARGS, "version() -> str\n\nOf the library." },
	{ "_error", wpy_make_error, METH_VARARGS, NULL },
	{ "_recv", wpy_recv_any, METH_VARARGS, NULL },
	{ "_probe", wpy_probe, METH_VARARGS, NULL },
	{ "_progress", wpy_progress, METH_O, NULL },
	{ "_shutdown", wpy_shutdown, METH_NOARGS, NULL },
	{ "_forked", wpy_forked, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "weft._weft",
	.m_doc = "weft's CPython extension; see the package weft.",
	.m_size = -1,
	.m_methods = methods,
};

static int add_types(PyObject *mod)
{
	static const struct { const char *name; PyTypeObject *type; } types[] = {
		{ "Op", &wpy_op_type }, { "Endpoint", &wpy_ep_type }, { "Memory", &wpy_mem_type },
		{ "Remote", &wpy_remote_type }, { "_Listener", &wpy_listener_type },
		{ "_Message", &wpy_message_type }, { NULL, &wpy_worker_type }, { NULL, &wpy_anchor_type },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (PyType_Ready(types[i].type))
			return -1;
		if (types[i].name && PyModule_AddObjectRef(mod, types[i].name, (PyObject *)types[i].type))
			return -1;
	}
	return 0;
}

static int intern_names(void)
{
	static const char *const names[] = {
		[N_BUF] = "buf", [N_TAG] = "tag", [N_MASK] = "mask", [N_SYNC] = "sync", [N_N] = "n", [N_HEADER] = "header",
		[N_OBJ] = "obj", [N_TOKEN] = "token", [N_OFFSET] = "offset", [N_VALUE] = "value",
		[N_COMPARE] = "compare", [N_BITS] = "bits", [N_RIGHTS] = "rights", [N_EP] = "ep", [N_LENGTH] = "length",
		[N_SIGNAL] = "signal", [N_URL] = "url", [N_TRANSPORTS] = "transports", [N_TIMEOUT] = "timeout",
		[N_CALLBACK] = "callback", [N_CONTEXT] = "context", [N_NBYTES] = "nbytes", [N_MSG] = "msg",
		[N_ABORT_ON_CANCEL] = "abort_on_cancel", [N_LOOP] = "loop", [N_ACCEPTED] = "accepted", [N_AT_LEAST] = "at_least", [N_JSON] = "json",
	};

	for (int i = 0; i < N_NAMES_; i++) {
		wpy_names[i] = PyUnicode_InternFromString(names[i]);
		if (!wpy_names[i])
			return -1;
	}
	return 0;
}

static PyObject *imported(const char *module, const char *name)
{
	PyObject *m = PyImport_ImportModule(module), *o = m ? PyObject_GetAttrString(m, name) : NULL;

	Py_XDECREF(m);
	return o;
}

static int import_all(void)
{
	wpy_incomplete_read = imported("asyncio", "IncompleteReadError");
	wpy_cancelled = imported("asyncio", "CancelledError");
	wpy_get_running_loop = imported("asyncio", "_get_running_loop");
	wpy_current_task = imported("asyncio", "current_task");
	wpy_dumps = imported("pickle", "dumps");
	wpy_loads = imported("pickle", "loads");
	return wpy_incomplete_read && wpy_cancelled && wpy_get_running_loop && wpy_current_task && wpy_dumps && wpy_loads ?
	       0 : -1;
}

PyMODINIT_FUNC PyInit__weft(void)
{
	PyObject *mod = PyModule_Create(&def), *exact = PyLong_FromUnsignedLongLong(UINT64_MAX);

	if (!mod || !exact || import_all() || intern_names() || add_types(mod) || wpy_err_init(mod) ||
	    PyModule_AddObjectRef(mod, "EXACT", exact) || PyModule_AddIntConstant(mod, "ANY", 0))
		Py_CLEAR(mod);
	Py_XDECREF(exact);
	return mod;
}
