//! Asking for cache lines before they are needed.

use std::sync::atomic::{Ordering, compiler_fence};

/// Asks for the cache line of `at`, which need not be readable: a hint cannot fault.
#[inline(always)]
pub(crate) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: `prefetcht0` is part of the x86-64 baseline and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `prfm` is part of the AArch64 baseline and never faults.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) at, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// The same into the second-level cache only, and in this place: left alone, LLVM gathers the
/// prefetches of a loop body behind its loads.
#[inline(always)]
pub(crate) fn prefetch_second_here(at: *const u8) {
    compiler_fence(Ordering::SeqCst);
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: `prefetcht1` is part of the x86-64 baseline and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `prfm` is part of the AArch64 baseline and never faults.
    unsafe {
        core::arch::asm!("prfm pldl2keep, [{0}]", in(reg) at, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
    compiler_fence(Ordering::SeqCst);
}
