// SPDX-License-Identifier: GPL-2.0
/* The way of every ioctl: find it, copy its argument, lock, call, copy back, note a refusal. */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/ioctl.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "door.h"
#include "uapi/wafer.h"

#define DOOR_BUFFER 416		/* struct kvm_fpu; what is larger is allocated */

static long last_error(const struct wafer_refusal *r, void __user *arg)
{
	struct wafer_last_error e = {
		.ioctl = READ_ONCE(r->refused),
		.err = READ_ONCE(r->err),
		.value = READ_ONCE(r->value),
	};
	const char *field = READ_ONCE(r->field), *rule = READ_ONCE(r->rule);

	strscpy_pad(e.field, field ?: "", sizeof(e.field));
	strscpy_pad(e.rule, rule ?: "", sizeof(e.rule));
	return copy_to_user(arg, &e, sizeof(e)) ? -EFAULT : 0;
}

static long call_locked(const struct wafer_doors *doors, const struct wafer_door *d, void *data, unsigned long arg)
{
	long r;

	if (!(d->flags & DOOR_LOCK))
		return d->fn(doors->obj, data, arg);
	if (mutex_lock_killable(doors->lock))
		return -EINTR;
	r = d->fn(doors->obj, data, arg);
	mutex_unlock(doors->lock);
	return r;
}

/*
 * The argument is copied before the mutex is taken and after it is released: a page fault in the VMM (userfaultfd)
 * holds up nobody else.
 */
static noinline long call_with_copy(const struct wafer_doors *doors, const struct wafer_door *d, unsigned long arg)
{
	u8 buffer[DOOR_BUFFER] __aligned(8);
	unsigned int size = _IOC_SIZE(d->cmd);
	void __user *user = (void __user *)arg;
	void *data = buffer;
	long r = -EFAULT;

	if (size > sizeof(buffer)) {
		data = kmalloc(size, GFP_KERNEL_ACCOUNT);
		if (!data)
			return -ENOMEM;
	}
	if (!(d->flags & DOOR_IN))
		memset(data, 0, size);
	else if (copy_from_user(data, user, size))
		goto out;
	r = call_locked(doors, d, data, arg);
	if (r >= 0 && (d->flags & DOOR_OUT) && copy_to_user(user, data, size))
		r = -EFAULT;
out:
	if (data != buffer)
		kfree(data);
	return r;
}

/**
 * wafer_door() - serve one ioctl
 * @doors: of the descriptor
 * @cmd: number
 * @arg: argument
 *
 * Return: the handler's result, -ENOTTY for an unknown number, -EFAULT, -ENOMEM, -EINTR (a fatal signal while waiting
 * for the object's mutex).
 */
long wafer_door(const struct wafer_doors *doors, unsigned int cmd, unsigned long arg)
{
	struct wafer_refusal *refusal = doors->refusal;
	const struct wafer_door *d = doors->door, *end = d + doors->nr;
	long r;

	if (cmd == WAFER_LAST_ERROR)
		return last_error(refusal, (void __user *)arg);
	while (d->cmd != cmd)
		if (++d == end)
			return -ENOTTY;
	refusal->ioctl = cmd;
	refusal->noted = false;
	if (d->flags & DOOR_NO_ARG && arg)
		r = wafer_refuse(refusal, -EINVAL, "argument", arg, "is 0");
	else if (d->flags & (DOOR_IN | DOOR_OUT))
		r = call_with_copy(doors, d, arg);
	else
		r = call_locked(doors, d, NULL, arg);
	if (unlikely(r < 0) && r != -EINTR && r != -EAGAIN && !refusal->noted)
		wafer_refuse(refusal, r, "", arg, "");
	return r;
}

/**
 * wafer_new_file() - a descriptor and a file for an object, not yet installed
 * @name: as it shows in /proc/PID/fd
 * @fops: file operations
 * @obj: private data; the caller's reference goes to the file, which is given back by its release function
 * @file: result
 *
 * Return: the descriptor; install it with fd_install() when the object is complete. -errno.
 */
int wafer_new_file(const char *name, const struct file_operations *fops, void *obj, struct file **file)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0)
		return fd;
	*file = anon_inode_getfile(name, fops, obj, O_RDWR);
	if (IS_ERR(*file)) {
		put_unused_fd(fd);
		return PTR_ERR(*file);
	}
	return fd;
}
