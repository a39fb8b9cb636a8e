// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/kvm as a second name of the device, for VMMs that open no other: the module parameter
 * "alias", which may be changed while the module is loaded. One module at a time has it: the
 * in-tree one's vendor part is kept from loading meanwhile, before it starts, since that of 6.1
 * leaves a registration behind when it does not get the device.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "door.h"

/*
 * What is wanted is known before the module has started, and may be asked for until its parameters
 * are gone.
 */
static DEFINE_MUTEX(alias_lock);
static bool started, wanted, rival_here;

static struct miscdevice alias = {
	.minor = KVM_MINOR, .name = "kvm", .mode = 0660, .fops = &wafer_device_fops,
};

static int alias_register(void)
{
	/* One that was there before this module has the minor. */
	int r = rival_here ? -EBUSY : misc_register(&alias);

	if (r == -EBUSY)
		pr_warn("/dev/kvm belongs to the in-tree KVM; remove it: modprobe -r %s kvm\n",
			wafer_backend->rival);
	return r;
}

static int module_event(struct notifier_block *nb, unsigned long event, void *mod)
{
	int r = 0;

	if (strcmp(((struct module *)mod)->name, wafer_backend->rival))
		return NOTIFY_DONE;
	mutex_lock(&alias_lock);
	if (event == MODULE_STATE_COMING && wanted)
		r = -EBUSY;
	else
		rival_here = event != MODULE_STATE_GOING;
	mutex_unlock(&alias_lock);
	if (r)
		pr_warn("%s is kept out: /dev/kvm is this module's; give it up: wafer alias off\n",
			wafer_backend->rival);
	return notifier_from_errno(r);
}

static struct notifier_block module_notifier = { .notifier_call = module_event };

static int alias_set(const char *val, const struct kernel_param *kp)
{
	bool want;
	int r = kstrtobool(val, &want);

	if (r)
		return r;
	mutex_lock(&alias_lock);
	if (started && want != wanted) {
		if (want)
			r = alias_register();
		else
			misc_deregister(&alias);
	}
	if (!r)
		wanted = want;
	mutex_unlock(&alias_lock);
	return r;
}

static const struct kernel_param_ops alias_ops = { .set = alias_set, .get = param_get_bool };

module_param_cb(alias, &alias_ops, &wanted, 0644);
MODULE_PARM_DESC(alias,
		 "Register /dev/kvm as well, while the in-tree KVM is not loaded (default: no)");

int wafer_alias_init(void)
{
	int r;

	register_module_notifier(&module_notifier);
	mutex_lock(&alias_lock);
	r = wanted ? alias_register() : 0;
	started = !r;
	mutex_unlock(&alias_lock);
	if (r)
		unregister_module_notifier(&module_notifier);
	return r;
}

void wafer_alias_exit(void)
{
	mutex_lock(&alias_lock);
	if (wanted)
		misc_deregister(&alias);
	started = wanted = false;
	mutex_unlock(&alias_lock);
	unregister_module_notifier(&module_notifier);
}
