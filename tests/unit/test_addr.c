/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "os/addr.h"

static void test_addresses_come_back_as_they_went(void **state)
{
	static const char *const rows[] = {
		"127.0.0.1:80", "0.0.0.0:0",      "255.255.255.255:65535", "[::]:7000",
		"[::1]:1",      "[fe80::1%lo]:9", "[2001:db8::1]:443"
	};
	struct wf_addr a;
	char text[WF_ADDR_TEXT];

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		if (wf_addr_parse(rows[i], &a))
			fail_msg("%s was not taken", rows[i]);
		assert_string_equal(wf_addr_format(&a, text, sizeof(text)), rows[i]);
	}
}

static void test_port_may_be_left_out(void **state)
{
	struct wf_addr a;
	char text[WF_ADDR_TEXT];

	(void)state;
	assert_int_equal(wf_addr_parse("10.1.2.3", &a), 0);
	assert_int_equal(wf_addr_port(&a), 0);
	assert_int_equal(wf_addr_parse("fe80::1%1", &a), 0);
	wf_addr_set_port(&a, 5);
	assert_string_equal(wf_addr_format(&a, text, sizeof(text)), "[fe80::1%lo]:5");
	assert_string_equal(wf_addr_format_host(&a, text, sizeof(text)), "fe80::1%lo");
}

static void test_nonsense_is_refused(void **state)
{
	static const char *const rows[] = {
		"",         ":80",       "localhost:80",  "1.2.3:80",
		"1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "[::1",
		"[::1]80",  "[::1]:-1",  "1.2.3.4:80 ",   "[1.2.3.4]:80",
		"[]:80",    "256.1.1.1", "[fe80::1%]:80", "1.2.3.4:+5",
		"::1%lo%lo"
	};
	char longest[300];
	struct wf_addr a;

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		if (!wf_addr_parse(rows[i], &a))
			fail_msg("\"%s\" was taken", rows[i]);
	}
	memset(longest, '1', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(wf_addr_parse(longest, &a), -EINVAL);
	assert_int_equal(wf_addr_parse("[fe80::1%nosuchif]:80", &a), -ENODEV);
}

static void test_kinds_of_address_are_known(void **state)
{
	struct wf_addr a, b;

	(void)state;
	wf_addr_parse("127.9.9.9:1", &a);
	assert_true(wf_addr_is_loopback(&a));
	wf_addr_parse("[::1]", &a);
	assert_true(wf_addr_is_loopback(&a));
	wf_addr_parse("[::]", &a);
	assert_true(wf_addr_is_any(&a));
	wf_addr_parse("0.0.0.0", &a);
	assert_true(wf_addr_is_any(&a));
	wf_addr_parse("[fe80::1%lo]", &a);
	assert_true(wf_addr_is_link_local(&a));
	wf_addr_parse("[fe80::1]", &b);
	assert_false(wf_addr_equal_host(&a, &b)); /* the scope counts */
	wf_addr_parse("169.254.1.1:4", &a);
	wf_addr_parse("169.254.1.1:5", &b);
	assert_true(wf_addr_is_link_local(&a));
	assert_true(wf_addr_equal_host(&a, &b));
}

static void test_networks_hold_what_they_should(void **state)
{
	static const struct {
		const char *addr, *cidr;
		bool in;
	} rows[] = {
		{ "10.1.2.3", "10.0.0.0/8", true },       { "11.1.2.3", "10.0.0.0/8", false },
		{ "10.1.2.3", "10.1.2.3", true },         { "10.1.2.4", "10.1.2.3", false },
		{ "10.1.2.3", "0.0.0.0/0", true },        { "172.20.0.1", "172.16.0.0/12", true },
		{ "172.32.0.1", "172.16.0.0/12", false }, { "10.1.2.3", "::/0", false },
		{ "[fd00::1]", "fd00::/8", true },        { "[fe00::1]", "fd00::/8", false },
		{ "10.1.2.3", "10.0.0.0/33", false },     { "10.1.2.3", "10.0.0.0/", false },
		{ "10.1.2.3", "10.0.0.0/-1", false },     { "10.1.2.3", "eth0", false },
	};
	struct wf_addr a;

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		assert_int_equal(wf_addr_parse(rows[i].addr, &a), 0);
		if (wf_addr_in_cidr(&a, rows[i].cidr) != rows[i].in)
			fail_msg("%s in %s", rows[i].addr, rows[i].cidr);
	}
}

static void test_names_resolve_without_doubles(void **state)
{
	struct wf_addr list[8];
	const char *why = NULL;
	int n;

	(void)state;
	n = wf_resolve_names("localhost", "80", list, 8, &why);
	assert_true(n >= 1);
	for (int i = 0; i < n; i++) {
		assert_true(wf_addr_is_loopback(&list[i]));
		assert_int_equal(wf_addr_port(&list[i]), 80);
		for (int k = 0; k < i; k++)
			assert_false(wf_addr_equal_host(&list[i], &list[k]));
	}
	assert_int_equal(wf_resolve_names("192.0.2.7", "1", list, 8, NULL), 1);
	assert_true(wf_resolve_names("name with blanks", "1", list, 8, &why) < 0);
	assert_non_null(why);
}

static void test_interfaces_are_ranked(void **state)
{
	struct wf_iface list[64];
	int n = wf_iface_list(list, 64);
	bool loopback = false;

	(void)state;
	assert_true(n >= 1);
	for (int i = 0; i < n; i++) {
		assert_true(list[i].addr.len > 0);
		assert_true(list[i].index > 0);
		loopback |= wf_addr_is_loopback(&list[i].addr);
		if (i)
			assert_true(list[i].rank >= list[i - 1].rank);
		if (!strncmp(list[i].name, "docker", 6))
			assert_int_equal(list[i].rank, 2);
	}
	assert_true(loopback);
	assert_int_equal(wf_iface_list(list, 1), 1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_addresses_come_back_as_they_went),
	cmocka_unit_test(test_port_may_be_left_out),
	cmocka_unit_test(test_nonsense_is_refused),
	cmocka_unit_test(test_kinds_of_address_are_known),
	cmocka_unit_test(test_networks_hold_what_they_should),
	cmocka_unit_test(test_names_resolve_without_doubles),
	cmocka_unit_test(test_interfaces_are_ranked),
};

UT_MAIN(tests)
