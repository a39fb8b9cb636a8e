// SPDX-License-Identifier: GPL-2.0
/* Each kind of exit, in each mode of the processor: what the guest and the VMM see. */
#include "kselftest_harness.h"
#include "vm.h"

#define EACH(name, text) GUEST(name##16, 16, text); GUEST(name##32, 32, text); GUEST(name##64, 64, text)

EACH(add, "mov $40, %eax\n add $2, %eax\n" DONE);

FIXTURE(modes) { struct vm *vm; };
FIXTURE_VARIANT(modes) { enum mode mode; };
FIXTURE_VARIANT_ADD(modes, real) { MODE_REAL };
FIXTURE_VARIANT_ADD(modes, protected) { MODE_PROT };
FIXTURE_VARIANT_ADD(modes, paging32) { MODE_PAGE32 };
FIXTURE_VARIANT_ADD(modes, pae) { MODE_PAE };
FIXTURE_VARIANT_ADD(modes, long) { MODE_LONG };

FIXTURE_SETUP(modes)
{
	self->vm = vm_new(4 << 20, 0);
	vcpu_new(self->vm, 0);
	vcpu_mode(&self->vm->cpu[0], variant->mode);
}

FIXTURE_TEARDOWN(modes)
{
	vm_free(self->vm);
}

#define LOAD(name) do {								\
	if (variant->mode == MODE_REAL)						\
		vm_load(self->vm, name##16);					\
	else if (variant->mode == MODE_LONG)					\
		vm_load(self->vm, name##64);					\
	else									\
		vm_load(self->vm, name##32);					\
} while (0)

TEST_F(modes, arithmetic)
{
	LOAD(add);
	ASSERT_TRUE(vcpu_run_done(&self->vm->cpu[0]));
	EXPECT_EQ(vcpu_regs(&self->vm->cpu[0]).rax, 42);
}

EACH(cpuid, "mov $0, %eax\n cpuid\n" DONE);

TEST_F(modes, cpuid)
{
	struct kvm_regs r;

	LOAD(cpuid);
	ASSERT_TRUE(vcpu_run_done(&self->vm->cpu[0]));
	r = vcpu_regs(&self->vm->cpu[0]);
	EXPECT_EQ(r.rbx, vm_is_amd() ? 0x68747541 : 0x756e6547);
}

TEST_HARNESS_MAIN
