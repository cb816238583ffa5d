//! Slots for connections, limited in total and per address. If no slot is free, the connection that has waited longest
//! without a request is closed in favour of the new one. A browser sends its request within milliseconds, so silent
//! sockets, however many, keep nobody out.

use crate::guard::limits::limit_key;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// The slots.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    taken: Mutex<SlotCounts>,
    max: usize,
    of_address_max: usize,
}

#[derive(Debug, Default)]
struct SlotCounts {
    connections: HashMap<u64, Connection>,
    addresses: HashMap<IpAddr, OfAddress>,
    /// Waiting connections, by the start of their wait.
    waiting: BTreeMap<u64, u64>,
    last_number: u64,
    last_ticket: u64,
}

#[derive(Debug)]
struct Connection {
    address: Option<IpAddr>,
    displaced: CancellationToken,
    /// The start of its wait, as an ordinal.
    ticket: Option<u64>,
}

#[derive(Debug, Default)]
struct OfAddress {
    connections: usize,
    waiting: BTreeMap<u64, u64>,
}

impl ConnectionSlots {
    pub(super) fn new(max: usize, of_address_max: usize) -> Self {
        Self { taken: Mutex::default(), max, of_address_max }
    }

    /// Takes a slot for a connection that waits for a request. A connection without an address is not counted per
    /// address. The error is the limit that is reached.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<ConnectionSlot, &'static str> {
        let address = address.map(limit_key);
        let mut taken = self.taken.lock();
        if let Some(of_address) = address.as_ref().and_then(|address| taken.addresses.get(address))
            && of_address.connections >= self.of_address_max
        {
            let oldest = of_address.waiting.values().next().copied();
            taken.displace(oldest.ok_or("address")?);
        }
        if taken.connections.len() >= self.max {
            let oldest = taken.waiting.values().next().copied();
            taken.displace(oldest.ok_or("all")?);
        }
        taken.last_number += 1;
        let number = taken.last_number;
        let displaced = CancellationToken::new();
        if let Some(address) = address {
            taken.addresses.entry(address).or_default().connections += 1;
        }
        taken.connections.insert(number, Connection { address, displaced: displaced.clone(), ticket: None });
        // Waiting from the first moment, so that of many that connect at once the newest is still accepted.
        taken.begin_wait(number);
        Ok(ConnectionSlot { waiting: Waiting { slots: self.clone(), number }, displaced })
    }

    /// Frees the slot of the connection that has waited longest.
    pub(super) fn displace_oldest(&self) {
        let mut taken = self.taken.lock();
        if let Some(number) = taken.waiting.values().next().copied() {
            taken.displace(number);
        }
    }
}

impl SlotCounts {
    fn displace(&mut self, number: u64) {
        if let Some(connection) = self.remove(number) {
            connection.displaced.cancel();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        self.end_wait(number);
        let connection = self.connections.remove(&number)?;
        if let Some(address) = connection.address
            && let Some(of_address) = self.addresses.get_mut(&address)
        {
            of_address.connections -= 1;
            if of_address.connections == 0 {
                self.addresses.remove(&address);
            }
        }
        Some(connection)
    }

    fn begin_wait(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.ticket.is_some() {
            return;
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        connection.ticket = Some(ticket);
        self.waiting.insert(ticket, number);
        if let Some(of_address) = connection.address.and_then(|address| self.addresses.get_mut(&address)) {
            of_address.waiting.insert(ticket, number);
        }
    }

    fn end_wait(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let Some(ticket) = connection.ticket.take() else { return };
        self.waiting.remove(&ticket);
        if let Some(of_address) = connection.address.and_then(|address| self.addresses.get_mut(&address)) {
            of_address.waiting.remove(&ticket);
        }
    }
}

/// A connection's slot, released when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    waiting: Waiting,
    displaced: CancellationToken,
}

impl ConnectionSlot {
    /// Cancelled when the slot is given to another.
    pub(super) fn displaced(&self) -> CancellationToken {
        self.displaced.clone()
    }

    /// A handle to report whether the connection waits for a request.
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.waiting.slots.taken.lock().remove(self.waiting.number);
    }
}

/// Reports whether a connection waits for a request. Has no effect once its slot is released.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    slots: Arc<ConnectionSlots>,
    number: u64,
}

impl Waiting {
    pub(super) fn begin(&self) {
        self.slots.taken.lock().begin_wait(self.number);
    }

    pub(super) fn end(&self) {
        self.slots.taken.lock().end_wait(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn waiting(slots: &Arc<ConnectionSlots>, from: Option<IpAddr>) -> ConnectionSlot {
        slots.take(from).unwrap()
    }

    fn served(slots: &Arc<ConnectionSlots>, from: Option<IpAddr>) -> ConnectionSlot {
        let slot = waiting(slots, from);
        slot.waiting().end();
        slot
    }

    #[test]
    fn idle_connections_are_displaced_and_served_ones_are_not() {
        let slots = Arc::new(ConnectionSlots::new(3, 2));
        let first = waiting(&slots, address("192.0.2.1"));
        let second = waiting(&slots, address("192.0.2.1"));
        // The address is full: its own oldest connection is closed, not one from another address.
        let other = waiting(&slots, address("192.0.2.2"));
        let third = waiting(&slots, address("192.0.2.1"));
        assert!(first.displaced().is_cancelled());
        assert!(!second.displaced().is_cancelled() && !other.displaced().is_cancelled());
        // A connection that was served and waits again has waited for less time.
        second.waiting().end();
        second.waiting().begin();
        let _next = waiting(&slots, address("192.0.2.3"));
        assert!(other.displaced().is_cancelled() && !second.displaced().is_cancelled());
        // If all are being served, there is no room.
        second.waiting().end();
        third.waiting().end();
        assert_eq!(slots.take(address("192.0.2.1")).unwrap_err(), "address");
        let full = Arc::new(ConnectionSlots::new(1, 1));
        let _served = served(&full, address("192.0.2.1"));
        assert_eq!(full.take(address("192.0.2.2")).unwrap_err(), "all");
    }

    #[test]
    fn a_place_that_is_given_back_leaves_nothing_behind() {
        let slots = Arc::new(ConnectionSlots::new(2, 1));
        for from in [address("192.0.2.1"), address("2001:db8::1"), None] {
            let slot = waiting(&slots, from);
            let told = slot.waiting();
            drop(slot);
            told.begin();
        }
        let displaced = waiting(&slots, address("192.0.2.1"));
        drop(waiting(&slots, address("192.0.2.1")));
        drop(displaced);
        let taken = slots.taken.lock();
        assert!(taken.connections.is_empty() && taken.addresses.is_empty() && taken.waiting.is_empty());
    }

    #[test]
    fn a_home_network_is_one_address_and_a_proxy_none() {
        let slots = Arc::new(ConnectionSlots::new(10, 1));
        let _held = served(&slots, address("2001:db8:1:2::1"));
        assert!(slots.take(address("2001:db8:1:2:ffff::1")).is_err());
        let _other = served(&slots, address("2001:db8:1:3::1"));
        let _mapped = served(&slots, address("::ffff:192.0.2.1"));
        assert!(slots.take(address("192.0.2.1")).is_err());
        let _proxys = [served(&slots, None), served(&slots, None)];
    }
}
