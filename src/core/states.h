/* SPDX-License-Identifier: BSD-3-Clause
 *
 * states.h - op->state of sends and receives, which msg.c and rndv.c move on together.
 */
#ifndef WF_CORE_STATES_H
#define WF_CORE_STATES_H

enum {                   /* send, am_send */
	SEND_QUEUED,             /* nothing has left yet                                          */
	SEND_LENT,               /* all sent, the lane still reads our bytes                      */
	SEND_WAIT_ACK,           /* SYNC, eager: the peer will say when it is matched             */
	SEND_WITHDRAWING,        /* asked the peer to forget an eager SYNC message                */
	SEND_OFFERED,            /* RTS sent: CTS, FIN or a copy will follow                      */
	SEND_STREAMING,          /* CTS came: DATA goes out                                       */
};

enum {                   /* recv, am_recv */
	RECV_POSTED,             /* in match                                                      */
	RECV_SINK,               /* an eager frame is being read into our buffers                 */
	RECV_COPY,               /* the transport copies                                          */
	RECV_DATA,               /* CTS sent: DATA comes                                          */
	RECV_STOPPING,           /* STOP sent: STOPPED, or the last DATA, will come               */
	RECV_TAKEN_BACK,         /* the sender has ended the copy: WITHDRAW says why, or he is gone */
};

#endif
