/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel modules: which are loaded, how to change that. For the commands that put Wafer in the
 * in-tree KVM's place.
 */
#ifndef WAFER_MODULES_H
#define WAFER_MODULES_H

#include <stdbool.h>

enum kvm_owner { KVM_NOBODY, KVM_IN_TREE, KVM_WAFER };

enum kvm_owner kvm_owner(void);		/* whose /dev/kvm is */
const char *kvm_vendor_module(void);	/* kvm_intel or kvm_amd: what this CPU would want */

bool module_loaded(const char *name);
bool module_builtin(const char *name);	/* or not removable for another reason */
long module_users(const char *name);	/* -1: nobody tells */
bool module_unload(const char *name);	/* false with errno; EWOULDBLOCK: in use */
bool module_probe(const char *name, const char *option);	/* modprobe, which tells why not */
bool module_load_file(const char *path, const char *options);	/* false with errno */

/* The module's parameter. False with errno: ENOENT, not loaded; EBUSY, /dev/kvm is another's. */
bool alias_set(bool on);
bool alias_is_on(void);
int alias_failed(bool on);		/* says why in one line; the status to end with */

#endif
