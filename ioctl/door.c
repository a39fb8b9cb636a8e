// SPDX-License-Identifier: GPL-2.0
/*
 * The way of every ioctl: find it, copy its argument, lock, call, copy back. Telling why something
 * was refused: to the program (WAFER_LAST_ERROR) and, where debugging is on, to the log.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "door.h"

#define DOOR_BUFFER 416		/* struct kvm_fpu; what is larger is allocated */

int wafer_refuse(struct wafer_refusal *r, int err, const char *field, u64 value, const char *rule)
{
	u32 cmd;

	if (!r)
		return err;
	cmd = READ_ONCE(r->ioctl);
	pr_debug_ratelimited("ioctl 0x%x gives %d: %s is 0x%llx, the rule: %s\n",
			     cmd, err, field, value, rule);
	WRITE_ONCE(r->field, field);
	WRITE_ONCE(r->rule, rule);
	WRITE_ONCE(r->value, value);
	WRITE_ONCE(r->err, -err);
	WRITE_ONCE(r->refused, cmd);
	WRITE_ONCE(r->noted, true);
	return err;
}

static long last_error(const struct wafer_refusal *r, void __user *arg)
{
	struct wafer_last_error e = {
		READ_ONCE(r->refused), READ_ONCE(r->err), READ_ONCE(r->value),
	};
	const char *field = READ_ONCE(r->field), *rule = READ_ONCE(r->rule);

	strscpy_pad(e.field, field ?: "", sizeof(e.field));
	strscpy_pad(e.rule, rule ?: "", sizeof(e.rule));
	return copy_to_user(arg, &e, sizeof(e)) ? -EFAULT : 0;
}

static long call_locked(const struct wafer_doors *d, u32 flags, u32 cmd, void *data,
			unsigned long arg)
{
	long r;

	if (!(flags & DOOR_LOCK))
		return d->call(d->obj, cmd, data, arg, false);
	if (mutex_lock_killable(d->lock))
		return -EINTR;
	r = d->call(d->obj, cmd, data, arg, false);
	mutex_unlock(d->lock);
	return r;
}

/*
 * The argument is copied before the mutex is taken and after it is released: a page fault in the
 * VMM (userfaultfd) holds up nobody else.
 */
static noinline long call_with_copy(const struct wafer_doors *d, u32 flags, u32 cmd,
				    unsigned long arg)
{
	u8 buffer[DOOR_BUFFER] __aligned(8);
	unsigned int size = _IOC_SIZE(cmd);
	void *data = size > sizeof(buffer) ? kmalloc(size, GFP_KERNEL_ACCOUNT) : buffer;
	long r = 0;

	if (!data)
		return -ENOMEM;
	if (!(flags & DOOR_IN))
		memset(data, 0, size);
	else if (copy_from_user(data, USER, size))
		r = -EFAULT;
	r = r ?: call_locked(d, flags, cmd, data, arg);
	if (r >= 0 && flags & DOOR_OUT && copy_to_user(USER, data, size))
		r = -EFAULT;
	if (data != buffer)
		kfree(data);
	return r;
}

/* What the handler did not explain is noted by its number alone. @r, which is negative */
long wafer_door_failed(struct wafer_refusal *refusal, long r, unsigned long arg)
{
	if (r != -EINTR && r != -EAGAIN && !READ_ONCE(refusal->noted))
		wafer_refuse(refusal, r, "", arg, "");
	return r;
}

/**
 * wafer_door() - serve one ioctl
 * @d: of the descriptor
 * @cmd: number
 * @arg: argument
 *
 * Return: the handler's result, -ENOTTY for an unknown number, -EFAULT, -ENOMEM, -EINTR (a fatal
 * signal while waiting for the object's mutex).
 */
long wafer_door(const struct wafer_doors *d, unsigned int cmd, unsigned long arg)
{
	struct wafer_refusal *refusal = d->refusal;
	long r, flags;

	if (cmd == WAFER_LAST_ERROR)
		return last_error(refusal, USER);
	flags = d->call(d->obj, cmd, NULL, arg, true);
	if (flags < 0)
		return flags;
	WRITE_ONCE(refusal->ioctl, cmd);
	WRITE_ONCE(refusal->noted, false);
	if (flags & DOOR_NO_ARG && arg)
		r = wafer_refuse(refusal, -EINVAL, "argument", arg, "is 0");
	else if (flags & (DOOR_IN | DOOR_OUT))
		r = call_with_copy(d, flags, cmd, arg);
	else
		r = call_locked(d, flags, cmd, NULL, arg);
	return r < 0 ? wafer_door_failed(refusal, r, arg) : r;
}

/**
 * wafer_new_file() - a descriptor and a file for an object, not yet installed
 * @name: as it shows in /proc/PID/fd: KVM's, by which tools find VMs and their vCPUs
 * @fops: file operations
 * @obj: private data; the caller's reference goes to the file, which is given back by its release
 *	function
 * @file: result
 *
 * Return: the descriptor; install it with fd_install() when the object is complete. -errno.
 */
int wafer_new_file(const char *name, const struct file_operations *fops, void *obj,
		   struct file **file)
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
