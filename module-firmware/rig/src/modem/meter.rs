//! What went over the modem's TCP connections.

use std::time::Instant;

/// IP and TCP headers of a segment, without options.
pub const HEADERS_BYTES: u64 = 40;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the module.
    Up,
    /// To the module.
    Down,
}

/// One write or read on the TCP side.
#[derive(Debug, Clone)]
pub struct Segment {
    /// When.
    pub at: Instant,
    /// Which way.
    pub way: Way,
    /// What.
    pub bytes: Vec<u8>,
}

/// One connection.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// What went over it, in order.
    pub segments: Vec<Segment>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// In order.
    pub connections: Vec<Connection>,
}

/// A sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Payload from the module.
    pub up_bytes: u64,
    /// Payload to the module.
    pub down_bytes: u64,
    /// Segments both ways.
    pub segments: u64,
}

impl Sum {
    /// Payload both ways.
    pub fn bytes(self) -> u64 {
        self.up_bytes + self.down_bytes
    }

    /// With TCP/IP headers as field.md reckons them: each segment has its own and is acknowledged by one that is bare.
    /// That is the most there can be: acknowledgements may ride on data.
    pub fn with_headers(self) -> u64 {
        self.bytes() + self.segments * 2 * HEADERS_BYTES
    }
}

impl Meter {
    /// What went since a time.
    pub fn since(&self, begin: Instant) -> Sum {
        let mut sum = Sum::default();
        for segment in self.segments_since(begin) {
            let count = segment.bytes.len() as u64;
            match segment.way {
                Way::Up => sum.up_bytes += count,
                Way::Down => sum.down_bytes += count,
            }
            sum.segments += 1;
        }
        sum
    }

    /// What went since a time, piece by piece.
    pub fn segments_since(&self, begin: Instant) -> impl Iterator<Item = &Segment> {
        self.connections.iter().flat_map(|connection| &connection.segments).filter(move |segment| segment.at >= begin)
    }

    /// The bytes of the last connection, one way.
    pub fn last(&self, way: Way) -> Vec<u8> {
        let segments = self.connections.last().map(|connection| connection.segments.as_slice()).unwrap_or_default();
        segments.iter().filter(|segment| segment.way == way).flat_map(|segment| segment.bytes.clone()).collect()
    }
}
