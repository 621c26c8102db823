/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf_load.h - settings from outside: the file that WEFT_CONFIG names, then the WEFT_<KEY>
 * variables. Implements weft_config_new().
 */
#ifndef WF_OS_CONF_LOAD_H
#define WF_OS_CONF_LOAD_H

#include "base/conf.h"

/*
 * Defaults, file, environment into *@out. 0, or WEFT_ESETTING with a text that names the line or
 * the variable; *@out is then of no use.
 */
int wf_conf_load(struct wf_conf *out);

/* Lines "key = value", "# ..." and empty ones. @name: borrowed, for texts. Changes @text. 0 or
 * WEFT_ESETTING. */
int wf_conf_parse_file(struct wf_conf *conf, const char *name, char *text);

/* Every WEFT_ variable of @env ("NAME=value" strings, NULL at the end). 0 or WEFT_ESETTING. */
int wf_conf_parse_env(struct wf_conf *conf, char *const *env);

#endif
