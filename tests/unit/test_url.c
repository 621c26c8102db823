/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_url.c - URLs that are taken, URLs that are refused and with which words, and the text put
 * together again.
 */
#include "unit/unit.h"

#include "base/util.h"
#include "wire/hello.h"

#include <string.h>

static void test_good_urls_are_taken_and_come_back(void **state)
{
	static const struct {
		const char *text;
		unsigned n;
		const char *first, *last;
	} good[] = {
		{ "weft://127.0.0.1:0", 1, "127.0.0.1:0", "127.0.0.1:0" },
		{ "weft://0.0.0.0:65535", 1, "0.0.0.0:65535", "0.0.0.0:65535" },
		{ "weft://[::]:7000", 1, "[::]:7000", "[::]:7000" },
		{ "weft://[::1]:1,10.0.0.1:2", 2, "[::1]:1", "10.0.0.1:2" },
		{ "weft://[fe80::1%eth0.5]:80", 1, "[fe80::1%eth0.5]:80", "[fe80::1%eth0.5]:80" },
		{ "weft://[::ffff:1.2.3.4%3]:80", 1, "[::ffff:1.2.3.4%3]:80",
		  "[::ffff:1.2.3.4%3]:80" },
		{ "weft://node-1.rack_2.example:9", 1, "node-1.rack_2.example:9",
		  "node-1.rack_2.example:9" },
		{ "weft://a:1,b:2,c:3,d:4,e:5,f:6,g:7,h:8,i:9,j:10,k:11,l:12,m:13,n:14,o:15,p:16",
		  16, "a:1", "p:16" },
	};
	struct wf_url u;
	char out[256];

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(good); i++) {
		assert_null(wf_url_parse(good[i].text, &u));
		assert_int_equal(u.n, good[i].n);
		assert_string_equal(u.addr[0], good[i].first);
		assert_string_equal(u.addr[u.n - 1], good[i].last);
		assert_int_equal(wf_url_format(&u, out, sizeof(out)), strlen(good[i].text));
		assert_string_equal(out, good[i].text);
	}
}

static void test_bad_urls_are_refused_with_the_reason(void **state)
{
	static const char port_text[] = "a port is a number, and nothing may follow it";
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "a URL begins with weft://" },
		{ "weft:/", "a URL begins with weft://" },
		{ "tcp://h:1", "a URL begins with weft://" },
		{ "WEFT://h:1", "a URL begins with weft://" },
		{ " weft://h:1", "a URL begins with weft://" },
		{ "weft://", "an address is empty" },
		{ "weft://h:1,", "an address is empty" },
		{ "weft://,h:1", "an address is empty" },
		{ "weft://h:1,,h:2", "an address is empty" },
		{ "weft://h", "port is missing" },
		{ "weft://h:", "port is missing" },
		{ "weft://:80", "host is missing" },
		{ "weft://h:65536", "port above 65535" },
		{ "weft://h:123456", "port above 65535" },
		{ "weft://h:99999999999999999999", "port above 65535" },
		{ "weft://h:-1", port_text },
		{ "weft://h:+1", port_text },
		{ "weft://h:0x1", port_text },
		{ "weft://h:80/", port_text },
		{ "weft://h:80 ", port_text },
		{ "weft://[::1]", "port is missing" },
		{ "weft://[::1]80", "':' and a port must follow the host" },
		{ "weft://[::1", "']' is missing behind an IPv6 address" },
		{ "weft://[::1%", "no scope follows '%'" },
		{ "weft://[::1%]:1", "no scope follows '%'" },
		{ "weft://[::1%e!]:1", "a character that no IPv6 address has" },
		{ "weft://[]:1", "nothing that looks like an IPv6 address follows '['" },
		{ "weft://[1.2.3.4]:1", "only an IPv6 address may stand in brackets" },
		{ "weft://[::g]:1", "a character that no IPv6 address has" },
		{ "weft://::1:80", "an IPv6 address must stand in brackets: [::1]:80" },
		{ "weft://fe80::1:80", "an IPv6 address must stand in brackets: [::1]:80" },
		{ "weft://a b:80", "a character that no host name has" },
		{ "weft://h\xc3\xa4:80", "a character that no host name has" },
		{ "weft://user@h:80", "a character that no host name has" },
		{ "weft:///h:80", "a character that no host name has" },
	};
	struct wf_url u;

	(void)state;
	memset(&u, 0x5a, sizeof(u));
	for (size_t i = 0; i < WF_ARRAY_LEN(bad); i++) {
		const char *why = wf_url_parse(bad[i].text, &u);

		if (!why || strcmp(why, bad[i].why))
			fail_msg("%s: \"%s\" instead of \"%s\"", bad[i].text, why ? why : "taken",
				 bad[i].why);
	}
	assert_int_equal(u.n, 0x5a5a5a5au); /* untouched on failure */
}

static void test_number_of_addresses_is_bounded(void **state)
{
	char text[512] = "weft://h:1";
	struct wf_url u;

	(void)state;
	for (unsigned i = 1; i < WF_URL_ADDRS; i++)
		strcat(text, ",h:1");
	assert_null(wf_url_parse(text, &u));
	strcat(text, ",h:1");
	assert_string_equal(wf_url_parse(text, &u), "more than 16 addresses");
}

static void test_length_of_an_address_is_bounded(void **state)
{
	char host[69], text[128];
	struct wf_url u;

	(void)state;
	memset(host, 'a', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	snprintf(text, sizeof(text), "weft://%s:80", host);
	assert_null(wf_url_parse(text, &u));
	assert_int_equal(strlen(u.addr[0]), WF_URL_TEXT - 1);
	snprintf(text, sizeof(text), "weft://%s:800", host);
	assert_string_equal(wf_url_parse(text, &u), "an address is longer than 71 characters");
}

static void test_format_cuts_like_snprintf(void **state)
{
	static const char text[] = "weft://127.0.0.1:1,[::1]:2";
	size_t len = sizeof(text) - 1;
	struct wf_url u;
	char out[64];

	(void)state;
	assert_null(wf_url_parse(text, &u));
	assert_int_equal(wf_url_format(&u, NULL, 0), len);
	for (size_t cap = 1; cap <= sizeof(out); cap++) {
		memset(out, '#', sizeof(out));
		assert_int_equal(wf_url_format(&u, out, cap), len);
		assert_int_equal(strlen(out), WF_MIN(len, cap - 1));
		assert_memory_equal(out, text, strlen(out));
		for (size_t i = strlen(out) + 1; i < sizeof(out); i++)
			assert_int_equal(out[i], '#');
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_good_urls_are_taken_and_come_back),
	cmocka_unit_test(test_bad_urls_are_refused_with_the_reason),
	cmocka_unit_test(test_number_of_addresses_is_bounded),
	cmocka_unit_test(test_length_of_an_address_is_bounded),
	cmocka_unit_test(test_format_cuts_like_snprintf),
};

UT_MAIN(tests)
