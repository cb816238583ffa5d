//! Limits the number of live streams: in total, per address, per member and per sale. Beyond that, a page reloads
//! itself from time to time instead.

use crate::{config::Limits, failure::Failure, guard::limits::limit_key};
use backend::ids::MemberId;
use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// When to come back after a refusal (seconds): the page's script does.
const RETRY_AFTER_S: u64 = 5;

/// What a stream counts for, besides its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum StreamOwner {
    /// A member's, by number.
    Member(MemberId),
    /// A sale's, by its token.
    Sale(String),
    /// Anybody's.
    #[cfg(any(feature = "demo", test))]
    Anonymous,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    StreamOwner(StreamOwner),
}

/// The streams.
pub(crate) struct Streams {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: u32,
    of: HashMap<Key, u32>,
}

impl Streams {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, open: Mutex::default() }
    }

    /// Takes a place for a stream.
    ///
    /// # Errors
    /// `TooMany` if the address, the member or the sale has enough, `Busy` if there are enough in all.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, whose: StreamOwner) -> Result<StreamSlot, Failure> {
        let mut keys = vec![(Key::Address(limit_key(address)), self.limits.live_streams_per_address, "address")];
        match whose {
            StreamOwner::Member(_) => {
                keys.push((Key::StreamOwner(whose), self.limits.live_streams_per_member, "member"))
            }
            StreamOwner::Sale(_) => keys.push((Key::StreamOwner(whose), self.limits.live_streams_per_sale, "sale")),
            #[cfg(any(feature = "demo", test))]
            StreamOwner::Anonymous => {}
        }
        let mut open = self.open.lock();
        for (key, max, bound) in &keys {
            if open.of.get(key).is_some_and(|count| count >= max) {
                metrics::counter!("web_streams_refused_total", "bound" => *bound).increment(1);
                return Err(Failure::TooMany { retry_after_s: RETRY_AFTER_S });
            }
        }
        if open.all >= self.limits.live_streams {
            metrics::counter!("web_streams_refused_total", "bound" => "all").increment(1);
            return Err(Failure::Busy);
        }
        open.all += 1;
        let keys: Vec<Key> = keys.into_iter().map(|(key, ..)| key).collect();
        for key in &keys {
            *open.of.entry(key.clone()).or_default() += 1;
        }
        metrics::gauge!("web_streams").set(open.all);
        Ok(StreamSlot { streams: self.clone(), keys })
    }
}

/// A stream's place, given back when dropped.
pub(crate) struct StreamSlot {
    streams: Arc<Streams>,
    keys: Vec<Key>,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        open.all -= 1;
        metrics::gauge!("web_streams").set(open.all);
        for key in &self.keys {
            if let Some(count) = open.of.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    open.of.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_per_owner_and_freed_when_dropped() {
        let limits = Limits {
            live_streams: 6,
            live_streams_per_address: 3,
            live_streams_per_member: 2,
            live_streams_per_sale: 1,
            ..Limits::default()
        };
        let streams = Arc::new(Streams::new(&limits));
        let take = |last: u8, whose: StreamOwner| streams.take([192, 0, 2, last].into(), whose);
        let sale = || StreamOwner::Sale("token".into());
        let mut held = vec![take(1, sale()).unwrap()];
        assert!(matches!(take(2, sale()), Err(Failure::TooMany { .. })), "one sale has one stream");
        held.push(take(1, StreamOwner::Member(MemberId(1))).unwrap());
        held.push(take(1, StreamOwner::Anonymous).unwrap());
        assert!(matches!(take(1, StreamOwner::Anonymous), Err(Failure::TooMany { .. })), "one address has three");
        held.push(take(2, StreamOwner::Member(MemberId(1))).unwrap());
        assert!(
            matches!(take(2, StreamOwner::Member(MemberId(1))), Err(Failure::TooMany { .. })),
            "one member has two"
        );
        held.push(take(2, StreamOwner::Member(MemberId(2))).unwrap());
        held.push(take(3, StreamOwner::Anonymous).unwrap());
        assert!(matches!(take(4, StreamOwner::Anonymous), Err(Failure::Busy)), "there are six");
        held.clear();
        let open = streams.open.lock();
        assert!(open.all == 0 && open.of.is_empty());
    }
}
