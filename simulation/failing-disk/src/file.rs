//! A file: what it holds, what of it is synced, who has which lock, and the memory that its connections share.

use crate::After;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// Files by name.
pub(crate) type Files = BTreeMap<String, Arc<Mutex<File>>>;

/// Levels of SQLite's lock on a file.
pub(crate) const SHARED: i32 = 1;
const RESERVED: i32 = 2;
const PENDING: i32 = 3;
const EXCLUSIVE: i32 = 4;
/// Locks in the shared memory of a write-ahead log.
const SLOTS: usize = 8;

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

/// A file.
#[derive(Default)]
pub(crate) struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// What was done since it was synced.
    changes: Vec<Change>,
    /// Levels of those that have a lock.
    holders: BTreeMap<u64, i32>,
    pub shared_memory: SharedMemory,
}

impl File {
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads into `buffer`, and tells how many bytes there were.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let there = self.bytes.get(offset..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        buffer[length..].fill(0);
        length
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub fn truncate(&mut self, length: usize) {
        self.change(Change::Truncate { length });
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.bytes, &change);
        self.changes.push(change);
    }

    pub fn sync(&mut self) {
        for change in self.changes.drain(..) {
            apply(&mut self.synced, &change);
        }
    }

    /// As the next process finds it.
    pub fn after(&self, what: After) -> Self {
        let bytes = match what {
            After::Kill => self.bytes.clone(),
            After::PowerCut => self.synced.clone(),
        };
        Self { synced: bytes.clone(), bytes, ..Self::default() }
    }

    /// Raises a lock to a level; false if others are in the way.
    pub fn lock(&mut self, who: u64, level: i32) -> bool {
        let highest_other = self.holders.iter().filter(|(other, _)| **other != who).map(|(_, level)| *level).max();
        let others = highest_other.unwrap_or(0);
        let is_free = match level {
            SHARED => others < PENDING,
            RESERVED => others < RESERVED,
            _ => others < SHARED,
        };
        match (is_free, level) {
            (true, _) => _ = self.holders.insert(who, level),
            // No new reader comes before it.
            (false, EXCLUSIVE) if others < RESERVED => _ = self.holders.insert(who, PENDING),
            (false, _) => {}
        }
        is_free
    }

    /// Lowers a lock.
    pub fn unlock(&mut self, who: u64, level: i32) {
        if level < SHARED {
            self.holders.remove(&who);
        } else {
            self.holders.insert(who, level);
        }
    }

    pub fn is_reserved(&self) -> bool {
        self.holders.values().any(|level| *level >= RESERVED)
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes: written } => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
        Change::Truncate { length } => bytes.truncate(*length),
    }
}

/// What connections to one database share, with its locks. It is gone with the last that uses it.
#[derive(Default)]
pub(crate) struct SharedMemory {
    /// Boxed, so that a region stays where it is.
    pub regions: Vec<Region>,
    users: BTreeSet<u64>,
    exclusive: [Option<u64>; SLOTS],
    shared: [BTreeSet<u64>; SLOTS],
}

/// A piece of memory that SQLite's connections write to past Rust, each under SQLite's own locks.
pub(crate) struct Region(pub Box<[std::sync::atomic::AtomicU8]>);

impl SharedMemory {
    pub fn joined_by(&mut self, who: u64) {
        self.users.insert(who);
    }

    /// Takes locks; false if another is in the way.
    pub fn lock(&mut self, who: u64, slots: std::ops::Range<usize>, is_exclusive: bool) -> bool {
        let is_free = slots.clone().all(|slot| {
            let no_writer = self.exclusive[slot].is_none_or(|other| other == who);
            no_writer && (!is_exclusive || self.shared[slot].iter().all(|other| *other == who))
        });
        if is_free {
            for slot in slots {
                if is_exclusive {
                    self.exclusive[slot] = Some(who);
                } else {
                    self.shared[slot].insert(who);
                }
            }
        }
        is_free
    }

    pub fn unlock(&mut self, who: u64, slots: std::ops::Range<usize>) {
        for slot in slots {
            self.shared[slot].remove(&who);
            if self.exclusive[slot] == Some(who) {
                self.exclusive[slot] = None;
            }
        }
    }

    pub fn left_by(&mut self, who: u64) {
        self.unlock(who, 0..SLOTS);
        if self.users.remove(&who) && self.users.is_empty() {
            self.regions.clear();
        }
    }
}
