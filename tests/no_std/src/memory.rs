//! The five functions that compiled code calls by name, in place of the C library's.
//!
//! String instructions, not loops: the compiler would turn a loop that copies into a call of `memcpy`.

use core::arch::asm;

/// Copies `count` bytes.
///
/// # Safety
/// - `from` is readable and `to` writable for `count` bytes;
/// - the two do not overlap, unless `to` is below `from`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: as the caller promises. The direction flag is clear, as the calling convention demands.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") count => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// Copies `count` bytes that may overlap.
///
/// # Safety
/// `from` is readable and `to` writable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: as the caller promises; `to` is below `from` or beyond its end.
        return unsafe { memcpy(to, from, count) };
    }
    let (last_to, last_from) = (to.wrapping_add(count - 1), from.wrapping_add(count - 1));
    // SAFETY: as the caller promises, from the last byte down; the direction flag is cleared again.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") count => _, inout("rsi") last_from => _, inout("rdi") last_to => _,
            options(nostack),
        );
    }
    to
}

/// Fills `count` bytes.
///
/// # Safety
/// `to` is writable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: as the caller promises. The direction flag is clear.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// Compares `count` bytes: negative, zero or positive as `a` is below, equal to or above `b`.
///
/// # Safety
/// Both are readable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: `index` is below `count`, for which `a` is readable.
        let left = unsafe { a.wrapping_add(index).read() };
        // SAFETY: likewise for `b`.
        let right = unsafe { b.wrapping_add(index).read() };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// Zero if and only if `count` bytes are equal.
///
/// # Safety
/// Both are readable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { memcmp(a, b, count) }
}
