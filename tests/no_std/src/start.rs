//! The entry point, and the one system call: what the C library's start-up code does elsewhere.

use core::arch::{asm, naked_asm};

/// Where the kernel starts the program.
///
/// # Safety
/// Only the kernel may jump here, once.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    // A call pushes eight bytes, and functions rely on a stack of multiples of sixteen before it.
    naked_asm!("xor ebp, ebp", "and rsp, -16", "call {run}", "ud2", run = sym run)
}

extern "C" fn run() -> ! {
    exit(crate::main().into())
}

/// Ends the program.
pub(crate) fn exit(code: i32) -> ! {
    const EXIT_GROUP: i64 = 231;
    // SAFETY: the call takes one number, touches no memory of ours, and does not come back.
    unsafe {
        asm!("syscall", in("rax") EXIT_GROUP, in("rdi") code, options(noreturn, nostack));
    }
}

/// The compiled `core` names the unwinder's hook in tables that nothing reads here: panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
