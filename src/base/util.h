/* SPDX-License-Identifier: BSD-3-Clause
 *
 * util.h - the handful of macros and one-liners that every file may want: container_of, array
 * length, checked addition of foreign sizes, alignment, branch hints, little-endian loads and
 * stores. No state, no other header of ours.
 */
#ifndef WF_BASE_UTIL_H
#define WF_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define wf_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define WF_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* Each argument may be evaluated twice: no side effects in it. */
#define WF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define WF_MAX(a, b) ((a) > (b) ? (a) : (b))

#define WF_CACHELINE 64
/* @a must be a power of two. */
#define WF_ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((a)-1))
#define WF_ALIGNED(a)     __attribute__((aligned(a)))
#define WF_PRINTF(f, a)   __attribute__((format(printf, f, a)))

#define wf_likely(x)   __builtin_expect(!!(x), 1)
#define wf_unlikely(x) __builtin_expect(!!(x), 0)

/* *out = a + b; false, and *out untouched in meaning, when the sum does not fit. */
static inline bool wf_add_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

/* *out = a * b; false when the product does not fit. */
static inline bool wf_mul_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

static inline bool wf_is_pow2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* Compares in a time that does not tell how much was right. */
static inline bool wf_same_secret(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t diff = 0;

	for (size_t i = 0; i < len; i++)
		diff |= x[i] ^ y[i];
	return !diff;
}

/* A busy-wait hint to the core. */
static inline void wf_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* Unaligned little-endian access; on a little-endian host each is one instruction. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WF_LE16(x) (x)
#define WF_LE32(x) (x)
#define WF_LE64(x) (x)
#else
#define WF_LE16(x) __builtin_bswap16(x)
#define WF_LE32(x) __builtin_bswap32(x)
#define WF_LE64(x) __builtin_bswap64(x)
#endif

static inline uint16_t wf_get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return WF_LE16(v);
}

static inline uint32_t wf_get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return WF_LE32(v);
}

static inline uint64_t wf_get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return WF_LE64(v);
}

static inline void wf_put_le16(void *p, uint16_t v)
{
	v = WF_LE16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void wf_put_le32(void *p, uint32_t v)
{
	v = WF_LE32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void wf_put_le64(void *p, uint64_t v)
{
	v = WF_LE64(v);
	memcpy(p, &v, sizeof(v));
}

#endif
