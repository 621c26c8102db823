/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf_load.h - settings from outside: the file that WEFT_CONFIG names, then the WEFT_<KEY>
 * variables; then, since any of them may name it, the calibration file, which sets what is still at
 * its default. Implements weft_config_new().
 */
#ifndef WF_OS_CONF_LOAD_H
#define WF_OS_CONF_LOAD_H

#include "base/conf.h"

/*
 * Defaults, file, environment, calibration into *@out. 0, or WEFT_ESETTING with a text that names the line or
 * the variable; *@out is then of no use.
 */
int wf_conf_load(struct wf_conf *out);

/* Lines "key = value", "# ..." and empty ones. @name: borrowed, for texts. Changes @text. 0 or
 * WEFT_ESETTING. */
int wf_conf_parse_file(struct wf_conf *conf, const char *name, char *text);

/* The same of a calibration's lines, which may name thresholds only (wf_conf_threshold()); what
 * stands behind " #" goes to conf->measured. */
int wf_conf_parse_calibration(struct wf_conf *conf, const char *name, char *text);

/*
 * Reads the file that the setting calibration names, if any. Thresholds that came from elsewhere
 * stay, those of an earlier calibration are forgotten. 0, WEFT_ESETTING (file, line), WEFT_ENOMEM.
 */
int wf_conf_calibrated(struct wf_conf *conf);

/* Every WEFT_ variable of @env ("NAME=value" strings, NULL at the end). 0 or WEFT_ESETTING. */
int wf_conf_parse_env(struct wf_conf *conf, char *const *env);

#endif
