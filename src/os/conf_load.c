/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf_load.c - see conf_load.h.
 */
#include "os/conf_load.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/conf_parse.h"
#include "base/err.h"
#include "base/fault.h"
#include "os/proc.h"

#define FILE_MAX (64 * 1024)

static bool is_blank_line(const char *line)
{
	line += strspn(line, " \t\r");
	return !*line || *line == '#';
}

/* Takes the line apart in place. *@note_out: what stands behind " #", or "". */
static int split_line(char *line, const char *where, const char **key_out, const char **value_out,
		      const char **note_out)
{
	char *eq = strchr(line, '=');
	char *hash = strstr(line, " #");
	char *key = line + strspn(line, " \t");
	char *end = eq;

	*note_out = "";
	if (hash) {
		*hash = 0;
		*note_out = hash + 2;
	}
	if (!eq || (hash && eq > hash))
		return wf_fail(WEFT_ESETTING, 0, where, "write: key = value",
			       "the line has no \"=\"");
	while (end > key && strchr(" \t", end[-1]))
		end--;
	*end = 0;
	*key_out = key;
	*value_out = eq + 1;
	return 0;
}

static int set_threshold(struct wf_conf *conf, const char *key, const char *value,
			 const char *note, const char *where)
{
	const char *name;
	size_t n = 0;

	while ((name = wf_conf_threshold(n)) && strcmp(name, key))
		n++;
	if (!name)
		return wf_fail(WEFT_ESETTING, 0, where, "put it into the file that WEFT_CONFIG names",
			       "\"%.60s\" is no threshold: a calibration cannot set it", key);
	wf_trim(note, conf->measured[n], sizeof(conf->measured[n]));
	return wf_conf_set(conf, key, value, WF_CONF_FROM_CALIBRATION, where);
}

static int parse_text(struct wf_conf *conf, const char *name, char *text, bool calibration)
{
	const char *key = "", *value = "", *note = "";
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
		ret = split_line(text, where, &key, &value, &note);
		if (!ret)
			ret = calibration ? set_threshold(conf, key, value, note, where) :
					    wf_conf_set(conf, key, value, WF_CONF_FROM_FILE, where);
		if (ret)
			return ret;
	}
	return 0;
}

int wf_conf_parse_file(struct wf_conf *conf, const char *name, char *text)
{
	return parse_text(conf, name, text, false);
}

int wf_conf_parse_calibration(struct wf_conf *conf, const char *name, char *text)
{
	return parse_text(conf, name, text, true);
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

/* A settings file, or a calibration; @remedy: when it cannot be read. */
static int load_file(struct wf_conf *conf, const char *path, bool calibration, const char *remedy)
{
	const char *what = calibration ? "calibration" : "settings";
	char *text = wf_malloc(FILE_MAX);
	ssize_t len;
	int ret;

	if (!text)
		return wf_fail(WEFT_ENOMEM, 0, path, NULL, "no memory to read the %s file", what);
	len = wf_file_read(path, text, FILE_MAX);
	if (len < 0)
		ret = wf_fail(WEFT_ESETTING, (int)-len, path, remedy,
			      "the %s file cannot be read", what);
	else if (memchr(text, 0, (size_t)len))
		ret = wf_fail(WEFT_ESETTING, 0, path, NULL, "the %s file is not text", what);
	else
		ret = parse_text(conf, path, text, calibration);
	wf_free(text);
	return ret;
}

int wf_conf_calibrated(struct wf_conf *conf)
{
	struct wf_conf found;
	char value[WF_CONF_TEXT];
	const char *key;
	int ret = 0;

	wf_conf_defaults(&found);
	if (conf->calibration[0])
		ret = load_file(&found, conf->calibration, true,
				"let `weft calibrate` write it, or unset calibration (WEFT_CALIBRATION)");
	for (size_t n = 0; !ret && (key = wf_conf_threshold(n)); n++) {
		int i = wf_conf_find(key);

		if (conf->origin[i] > WF_CONF_FROM_CALIBRATION)
			continue;
		wf_conf_format(&found, (size_t)i, value, sizeof(value));
		ret = wf_conf_set(conf, key, value, found.origin[i], NULL);
		memcpy(conf->measured[n], found.measured[n], sizeof(found.measured[n]));
	}
	return ret;
}

int wf_conf_load(struct wf_conf *out)
{
	const char *path = getenv("WEFT_CONFIG");
	int ret = 0;

	wf_conf_defaults(out);
	if (path && *path)
		ret = load_file(out, path, false, "mend or unset WEFT_CONFIG");
	if (!ret)
		ret = wf_conf_parse_env(out, environ);
	return ret ? ret : wf_conf_calibrated(out);
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
