/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf_load.c - see conf_load.h.
 */
#include "os/conf_load.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/proc.h"

#define FILE_MAX (64 * 1024)

static bool is_blank_line(const char *line)
{
	line += strspn(line, " \t\r");
	return !*line || *line == '#';
}

static int parse_line(struct wf_conf *conf, char *line, const char *where)
{
	char *eq = strchr(line, '=');
	char *hash = strstr(line, " #");
	char *key = line + strspn(line, " \t");
	char *end = eq;

	if (hash)
		*hash = 0;
	if (!eq || (hash && eq > hash))
		return wf_fail(WEFT_ESETTING, 0, where, "write: key = value",
			       "the line has no \"=\"");
	while (end > key && strchr(" \t", end[-1]))
		end--;
	*end = 0;
	return wf_conf_set(conf, key, eq + 1, WF_CONF_FROM_FILE, where);
}

int wf_conf_parse_file(struct wf_conf *conf, const char *name, char *text)
{
	char where[128];
	char *next;
	int ret;

	for (int line = 1; text; text = next, line++) {
		next = strchr(text, '\n');
		if (next)
			*next++ = 0;
		if (is_blank_line(text))
			continue;
		snprintf(where, sizeof(where), "%.90s line %d", name, line);
		ret = parse_line(conf, text, where);
		if (ret)
			return ret;
	}
	return 0;
}

/* WEFT_NAME to the key that it sets: the one row whose variable it is; -1. */
static int row_of_env(const char *name, size_t len)
{
	const struct wf_conf_row *row;
	char env[64];

	for (size_t i = 0; !wf_conf_list(i, &row); i++) {
		wf_conf_env_name(i, env, sizeof(env));
		if (strlen(env) == len && !memcmp(env, name, len))
			return (int)i;
	}
	return -1;
}

static int unknown_env(const char *name, size_t len)
{
	char key[64], env[64], object[80], remedy[96];
	size_t n = WF_MIN(len - 5, sizeof(key) - 1);

	for (size_t i = 0; i < n; i++)
		key[i] = (char)tolower((unsigned char)name[5 + i]);
	key[n] = 0;
	wf_conf_env_name((size_t)wf_conf_find(wf_conf_nearest(key)), env, sizeof(env));
	snprintf(object, sizeof(object), "environment variable %.*s", (int)WF_MIN(len, (size_t)50),
		 name);
	snprintf(remedy, sizeof(remedy), "did you mean %s?", env);
	return wf_fail(WEFT_ESETTING, 0, object, remedy, "there is no such setting");
}

int wf_conf_parse_env(struct wf_conf *conf, char *const *env)
{
	const struct wf_conf_row *row;
	char name[64];
	size_t len;
	int i, ret;

	for (; env && *env; env++) {
		len = strcspn(*env, "=");
		if (strncmp(*env, "WEFT_", 5) || (*env)[len] != '=')
			continue;
		i = row_of_env(*env, len);
		snprintf(name, sizeof(name), "%.*s", (int)WF_MIN(len, sizeof(name) - 1), *env);
		if (i < 0 && wf_conf_env_is_foreign(name))
			continue;
		if (i < 0)
			return unknown_env(*env, len);
		wf_conf_list((size_t)i, &row);
		ret = wf_conf_set(conf, row->key, *env + len + 1, WF_CONF_FROM_ENV, name);
		if (ret)
			return ret;
	}
	return 0;
}

static int load_file(struct wf_conf *conf, const char *path)
{
	char *text = wf_malloc(FILE_MAX);
	ssize_t len;
	int ret;

	if (!text)
		return wf_fail(WEFT_ENOMEM, 0, path, NULL, "no memory to read the settings file");
	len = wf_file_read(path, text, FILE_MAX);
	if (len < 0)
		ret = wf_fail(WEFT_ESETTING, (int)-len, path, "mend or unset WEFT_CONFIG",
			      "the settings file named by WEFT_CONFIG cannot be read");
	else if (memchr(text, 0, (size_t)len))
		ret = wf_fail(WEFT_ESETTING, 0, path, NULL, "the settings file is not text");
	else
		ret = wf_conf_parse_file(conf, path, text);
	wf_free(text);
	return ret;
}

int wf_conf_load(struct wf_conf *out)
{
	const char *path = getenv("WEFT_CONFIG");
	int ret = 0;

	wf_conf_defaults(out);
	if (path && *path)
		ret = load_file(out, path);
	return ret ? ret : wf_conf_parse_env(out, environ);
}

int weft_config_new(weft_config **out)
{
	struct wf_conf conf;
	int ret;

	if (!out)
		return wf_fail(WEFT_EINVAL, 0, "weft_config_new", NULL, "an argument is NULL");
	ret = wf_conf_load(&conf);
	return ret ? ret : wf_conf_wrap(&conf, out);
}
