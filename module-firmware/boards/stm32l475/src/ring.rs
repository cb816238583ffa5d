//! A queue of bytes between an interrupt and the loop: one side puts, the other takes.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Holds up to `N` bytes; `N` is a power of two.
pub struct Ring<const N: usize> {
    bytes: [AtomicU8; N],
    /// Bytes ever put and ever taken, wrapping.
    put: AtomicUsize,
    taken: AtomicUsize,
}

impl<const N: usize> Ring<N> {
    /// An empty queue.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two(), "positions wrap with the counters") };
        Self { bytes: [const { AtomicU8::new(0) }; N], put: AtomicUsize::new(0), taken: AtomicUsize::new(0) }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.put.load(Ordering::Acquire).wrapping_sub(self.taken.load(Ordering::Acquire))
    }

    /// Bytes that it would still take.
    pub fn room(&self) -> usize {
        N.saturating_sub(self.len())
    }

    /// Puts as many of the bytes as there is room for; gives how many.
    pub fn put(&self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let put = self.put.load(Ordering::Relaxed);
        for (i, byte) in bytes.iter().take(count).enumerate() {
            self.bytes[put.wrapping_add(i) % N].store(*byte, Ordering::Relaxed);
        }
        self.put.store(put.wrapping_add(count), Ordering::Release);
        count
    }

    /// Takes bytes that wait, as many as there is place for; gives how many.
    pub fn take(&self, bytes: &mut [u8]) -> usize {
        let count = bytes.len().min(self.len());
        let taken = self.taken.load(Ordering::Relaxed);
        for (i, byte) in bytes.iter_mut().take(count).enumerate() {
            *byte = self.bytes[taken.wrapping_add(i) % N].load(Ordering::Relaxed);
        }
        self.taken.store(taken.wrapping_add(count), Ordering::Release);
        count
    }
}
