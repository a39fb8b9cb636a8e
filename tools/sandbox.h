/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is left to a device model that a guest has taken over: no capability,
 * no new privilege, and the few system calls that running the guest needs.
 */
#ifndef WAFER_SANDBOX_H
#define WAFER_SANDBOX_H

/* Gives up all capabilities; threads that start later have none either. */
void sandbox_drop_privileges(void);

/* The calling thread's filter, for good. */
void sandbox_vcpu_thread(void);
void sandbox_main_thread(void);

#endif
