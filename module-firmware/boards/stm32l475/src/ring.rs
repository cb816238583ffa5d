//! A queue of bytes between an interrupt and the loop: one side puts, the other takes.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Holds as many bytes as it has places; these are a power of two.
pub struct Ring {
    places: &'static [AtomicU8],
    /// Bytes ever put and ever taken, wrapping.
    put: AtomicUsize,
    taken: AtomicUsize,
}

impl Ring {
    /// An empty queue.
    pub const fn new(places: &'static [AtomicU8]) -> Self {
        assert!(places.len().is_power_of_two(), "positions wrap with the counters");
        Self { places, put: AtomicUsize::new(0), taken: AtomicUsize::new(0) }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.put.load(Ordering::Acquire).wrapping_sub(self.taken.load(Ordering::Acquire))
    }

    /// Bytes that it would still take.
    pub fn room(&self) -> usize {
        self.places.len().saturating_sub(self.len())
    }

    fn place(&self, position: usize) -> Option<&AtomicU8> {
        self.places.get(position & (self.places.len() - 1))
    }

    /// Puts as many of the bytes as there is room for; gives how many.
    pub fn put(&self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let put = self.put.load(Ordering::Relaxed);
        for (i, byte) in bytes.iter().take(count).enumerate() {
            if let Some(place) = self.place(put.wrapping_add(i)) {
                place.store(*byte, Ordering::Relaxed);
            }
        }
        self.put.store(put.wrapping_add(count), Ordering::Release);
        count
    }

    /// Takes bytes that wait, as many as there is place for; gives how many.
    pub fn take(&self, bytes: &mut [u8]) -> usize {
        let count = bytes.len().min(self.len());
        let taken = self.taken.load(Ordering::Relaxed);
        for (i, byte) in bytes.iter_mut().take(count).enumerate() {
            if let Some(place) = self.place(taken.wrapping_add(i)) {
                *byte = place.load(Ordering::Relaxed);
            }
        }
        self.taken.store(taken.wrapping_add(count), Ordering::Release);
        count
    }
}
