/* SPDX-License-Identifier: BSD-3-Clause
 *
 * amo.h - the one executor of remote atomics on host memory: the CPU's own, sequentially consistent. Whoever runs it, the
 * owner for a frame or a peer on memory that it has mapped, they are atomic among each other and with the owner's C11
 * atomics.
 */
#ifndef WF_BASE_AMO_H
#define WF_BASE_AMO_H

#include <stdatomic.h>

#include "base/util.h"
#include "weft/weft.h"

static inline size_t wf_amo_size(uint32_t what)
{
	return what & WEFT_ATOMIC_32BIT ? sizeof(uint32_t) : sizeof(uint64_t);
}

static inline bool wf_amo_is_known(uint32_t what)
{
	uint32_t op = what & ~(uint32_t)WEFT_ATOMIC_32BIT;

	return op >= WEFT_ATOMIC_ADD && op <= WEFT_ATOMIC_CAS;
}

static inline uint64_t wf_amo_64(_Atomic uint64_t *at, uint32_t op, uint64_t operand, uint64_t compare)
{
	switch (op) {
	case WEFT_ATOMIC_ADD:
		return atomic_fetch_add(at, operand);
	case WEFT_ATOMIC_AND:
		return atomic_fetch_and(at, operand);
	case WEFT_ATOMIC_OR:
		return atomic_fetch_or(at, operand);
	case WEFT_ATOMIC_XOR:
		return atomic_fetch_xor(at, operand);
	case WEFT_ATOMIC_SWAP:
		return atomic_exchange(at, operand);
	default:
		atomic_compare_exchange_strong(at, &compare, operand);
		return compare;          /* the old value, whether it was equal or not */
	}
}

static inline uint32_t wf_amo_32(_Atomic uint32_t *at, uint32_t op, uint32_t operand, uint32_t compare)
{
	switch (op) {
	case WEFT_ATOMIC_ADD:
		return atomic_fetch_add(at, operand);
	case WEFT_ATOMIC_AND:
		return atomic_fetch_and(at, operand);
	case WEFT_ATOMIC_OR:
		return atomic_fetch_or(at, operand);
	case WEFT_ATOMIC_XOR:
		return atomic_fetch_xor(at, operand);
	case WEFT_ATOMIC_SWAP:
		return atomic_exchange(at, operand);
	default:
		atomic_compare_exchange_strong(at, &compare, operand);
		return compare;
	}
}

/* @at: aligned to wf_amo_size(@what), which wf_amo_is_known(). The old value. */
static inline uint64_t wf_amo(void *at, uint32_t what, uint64_t operand, uint64_t compare)
{
	uint32_t op = what & ~(uint32_t)WEFT_ATOMIC_32BIT;

	if (what & WEFT_ATOMIC_32BIT)
		return wf_amo_32(at, op, (uint32_t)operand, (uint32_t)compare);
	return wf_amo_64(at, op, operand, compare);
}

#endif
