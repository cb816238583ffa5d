//! Slots for connections, limited in total and per address, with lower limits for those that have not logged in. If no
//! slot is free, the connection that has waited longest for its login is closed in favour of the new one. A real client
//! logs in within milliseconds, so silent sockets, however many, keep nobody out.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;

/// What counts as one address. For IPv6 this is a /64, since a client owns a whole /64 and can use any address in it.
pub(crate) fn limit_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// The slots.
pub(crate) struct ConnectionSlots {
    taken: Mutex<SlotCounts>,
    connections_max: usize,
    of_address_max: usize,
    arriving_max: usize,
    arriving_of_address_max: usize,
}

#[derive(Default)]
struct SlotCounts {
    connections: usize,
    addresses: HashMap<IpAddr, Count>,
    /// Connections that have not logged in, by their numbers: the oldest is first.
    arriving: BTreeMap<u64, PendingSlot>,
    last_number: u64,
}

/// Connections of an address.
#[derive(Default, Clone, Copy)]
struct Count {
    all: usize,
    arriving: usize,
}

struct PendingSlot {
    address: IpAddr,
    displaced: CancellationToken,
}

/// A connection's slot, released when dropped.
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    address: IpAddr,
    /// While it has not logged in.
    arriving: Option<u64>,
}

impl ConnectionSlots {
    pub fn new(limits: &Limits) -> ConnectionSlots {
        ConnectionSlots {
            taken: Mutex::default(),
            connections_max: limits.connections,
            of_address_max: limits.connections_per_address,
            arriving_max: limits.arriving,
            arriving_of_address_max: limits.arriving_per_address,
        }
    }

    /// Takes a slot for a connection. The slot must also be given up when the token is cancelled. The error is the
    /// limit that is reached.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<(ConnectionSlot, CancellationToken), &'static str> {
        let address = limit_key(address);
        let mut taken = self.taken.lock();
        let of_address = taken.addresses.get(&address).copied().unwrap_or_default();
        let address_full = of_address.all >= self.of_address_max || of_address.arriving >= self.arriving_of_address_max;
        if address_full && !taken.displace(|arriving| arriving.address == address) {
            return Err("address_limit");
        }
        let full = taken.connections >= self.connections_max || taken.arriving.len() >= self.arriving_max;
        if full && !taken.displace(|_| true) {
            return Err("connection_limit");
        }
        taken.last_number += 1;
        let number = taken.last_number;
        let displaced = CancellationToken::new();
        taken.arriving.insert(number, PendingSlot { address, displaced: displaced.clone() });
        taken.connections += 1;
        let count = taken.addresses.entry(address).or_default();
        count.all += 1;
        count.arriving += 1;
        Ok((ConnectionSlot { slots: self.clone(), address, arriving: Some(number) }, displaced))
    }
}

impl SlotCounts {
    /// Takes the slot of the oldest of some connections that have not logged in.
    fn displace(&mut self, of: impl Fn(&PendingSlot) -> bool) -> bool {
        let oldest = self.arriving.iter().find(|(_, arriving)| of(arriving)).map(|(number, _)| *number);
        let Some(arriving) = oldest.and_then(|number| self.arriving.remove(&number)) else { return false };
        arriving.displaced.cancel();
        self.uncount(arriving.address, true);
        true
    }

    fn uncount(&mut self, address: IpAddr, was_arriving: bool) {
        self.connections -= 1;
        if let Some(count) = self.addresses.get_mut(&address) {
            count.all -= 1;
            count.arriving -= usize::from(was_arriving);
            if count.all == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

impl ConnectionSlot {
    /// The client has logged in; false if its slot was given to another.
    pub fn settle(&mut self) -> bool {
        let Some(number) = self.arriving else { return true };
        let mut taken = self.slots.taken.lock();
        let is_there = taken.arriving.remove(&number).is_some();
        if is_there {
            self.arriving = None;
            if let Some(count) = taken.addresses.get_mut(&self.address) {
                count.arriving -= 1;
            }
        }
        is_there
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        match self.arriving {
            None => taken.uncount(self.address, false),
            Some(number) => {
                if taken.arriving.remove(&number).is_some() {
                    taken.uncount(self.address, true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_network_is_one_address() {
        let limits = Limits { connections_per_address: 1, arriving_per_address: 1, ..Limits::default() };
        let slots = Arc::new(ConnectionSlots::new(&limits));
        let take = |address: &str| {
            let (mut slot, _) = slots.take(address.parse().unwrap())?;
            assert!(slot.settle());
            Ok::<_, &str>(slot)
        };
        let _held = take("2001:db8:1:2::1").unwrap();
        assert_eq!(take("2001:db8:1:2:ffff::1").err(), Some("address_limit"));
        let _other = take("2001:db8:1:3::1").unwrap();
        let _v4 = take("::ffff:192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").err(), Some("address_limit"));
        let _next = take("192.0.2.2").unwrap();
    }
}
