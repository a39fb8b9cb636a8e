# SPDX-License-Identifier: GPL-2.0
#
#	make [KDIR=...] [W=1] [C=1]	the module, for the running kernel or the one of KDIR, and the tools
#	make COUNT=1			the counting build, see count/count.h
#	make demo [HOST=svm|vmx]	boots Debian's kernel in a VM; in an emulated host if need be
#	make test [BACKEND=svm|vmx]	all tests, on both backends
#	make bench [BACKEND=svm|vmx] [HOST=...] [KERNEL=6.1|6.12|7.2]	what an exit costs, beside the in-tree KVM
#	make test-vmms [BACKEND=svm|vmx]	QEMU of Debian, unmodified, in many combinations
#	make kvm-selftests [BACKEND=svm|vmx]	KVM's own selftests, unmodified
#	make check			static checks
#	make install			the module, the tool and its manual page
#	make deb			Debian packages: the module's source for DKMS, the tools

# The running kernel's headers; where there are none, the newest that are installed.
KDIR ?= $(firstword $(wildcard /lib/modules/$(shell uname -r)/build) \
	$(shell ls -d /usr/src/linux-headers-*-amd64 2>/dev/null | sort -rV))

all: modules tools

modules:
	@if [ -z "$(KDIR)" ]; then \
		echo "no kernel headers: as root, apt-get install linux-headers-amd64, or say KDIR=..." >&2; exit 2; fi
	$(MAKE) -C $(KDIR) M=$(CURDIR) CONFIG_DEBUG_INFO_BTF_MODULES= modules

tools:
	$(MAKE) -C tools

install: all
	$(MAKE) -C $(KDIR) M=$(CURDIR) CONFIG_DEBUG_INFO_BTF_MODULES= modules_install
	$(MAKE) -C tools install

# They start makes of their own, with settings of their own.
demo:
	@env -u MAKEFLAGS -u MFLAGS scripts/demo $(HOST)

test:
	@env -u MAKEFLAGS -u MFLAGS scripts/test $(if $(BACKEND),--backend $(BACKEND))

bench:
	@env -u MAKEFLAGS -u MFLAGS scripts/bench $(if $(BACKEND),--backend $(BACKEND)) \
		$(addprefix --host ,$(HOST)) $(addprefix --kernel ,$(KERNEL))

test-vmms:
	@env -u MAKEFLAGS -u MFLAGS scripts/test-vmms $(if $(BACKEND),--backend $(BACKEND))

kvm-selftests:
	@env -u MAKEFLAGS -u MFLAGS scripts/kvm-selftests $(if $(BACKEND),--backend $(BACKEND))

deb:
	@env -u MAKEFLAGS -u MFLAGS scripts/deb

check:
	@env -u MAKEFLAGS -u MFLAGS scripts/check

clean:
	$(if $(KDIR),$(MAKE) -C $(KDIR) M=$(CURDIR) clean)
	$(MAKE) -C tools clean
	$(MAKE) -C selftests/unit clean

.PHONY: all modules tools install demo test bench test-vmms kvm-selftests deb check clean
