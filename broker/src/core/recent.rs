//! The last messages that the core took, for feeds that go over from a router that died to the next.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::Message;

/// Messages under their positions, oldest first, within a bound.
pub(super) struct Recent {
    kept: VecDeque<(u64, Arc<Message>)>,
    /// Position of the newest that is kept no longer.
    forgotten: u64,
    /// Reach, in bytes of positions.
    reach: u64,
}

impl Recent {
    pub fn new(reach: u64) -> Recent {
        Recent { kept: VecDeque::new(), forgotten: 0, reach }
    }

    /// Keeps a message; positions only grow.
    pub fn push(&mut self, position: u64, message: Arc<Message>) {
        self.kept.push_back((position, message));
        while let Some((oldest, _)) = self.kept.front()
            && position - oldest >= self.reach
        {
            self.forgotten = *oldest;
            self.kept.pop_front();
        }
    }

    /// Those after a position, oldest first.
    pub fn after(&self, position: u64) -> impl Iterator<Item = &(u64, Arc<Message>)> {
        let from = self.kept.partition_point(|(at, _)| *at <= position);
        self.kept.range(from..)
    }

    /// The position up to which nothing is kept.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
