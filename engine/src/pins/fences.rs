//! Two fences that together are as two full ones: a light one for those who pin, a heavy one for who waits for them.
//!
//! Of two threads that each store to one place and then load the other's, at least one sees the other's store if both
//! have a full fence in between. Readers pin millions of times a second and replaced pages are waited for a few times, so
//! the price is moved: with `membarrier` (Linux 4.14) the kernel has every running thread of the process pass a full
//! fence, wherever it is, and a reader needs none that the processor sees. What each thread did before that point is
//! seen after the call; what it does later sees what was done before the call. (The same split as in userspace RCU,
//! Desnoyers et al. 2012, and as the asymmetric fences of the C++ paper P1202.) Where the call is missing or refused, both
//! are full fences.

use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

use rustix::thread::{MembarrierCommand, membarrier};

use crate::sync::fence;

/// Which fences a store's pins use. Does not change while the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fences {
    /// Nothing for readers, a call for who waits.
    Asymmetric,
    /// A full fence for each.
    Full,
    /// What a model plants.
    #[cfg(loom)]
    None,
}

impl Fences {
    /// The cheapest that the kernel has. It is told once in a process that such calls will come.
    pub(crate) fn of_this_process() -> Self {
        static FENCES: OnceLock<Fences> = OnceLock::new();
        // A race detector does not know what the kernel orders, nor does a model checker.
        let cannot = cfg!(any(loom, tsan));
        *FENCES.get_or_init(|| if !cannot && register() { Self::Asymmetric } else { Self::Full })
    }

    /// The reader's: between the store that says that it is pinned and its first load of anything that may be replaced.
    #[inline(always)]
    pub(crate) fn light(self) {
        match self {
            Self::Asymmetric => compiler_fence(Ordering::SeqCst),
            Self::Full => fence(Ordering::SeqCst),
            #[cfg(loom)]
            Self::None => {}
        }
    }

    /// The writer's: between the store that replaces something and its first look at who is pinned. False if the kernel
    /// refused, and nothing can be concluded from that look.
    #[must_use]
    pub(crate) fn heavy(self) -> bool {
        match self {
            Self::Asymmetric => expedite() || (register() && expedite()),
            Self::Full => {
                fence(Ordering::SeqCst);
                true
            }
            #[cfg(loom)]
            Self::None => true,
        }
    }
}

fn register() -> bool {
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

fn expedite() -> bool {
    membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}
