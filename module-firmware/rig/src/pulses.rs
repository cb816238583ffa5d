//! Pulses, read out of a pin's edges.

use crate::qtest::Edge;
use std::time::{Duration, Instant};

/// A pulse observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// When it began.
    pub at: Instant,
    /// How long it was.
    pub width: Duration,
}

/// The whole pulses of a pin whose active level is `active_high`.
pub fn pulses(edges: &[Edge], pin: u8, active_high: bool) -> Vec<Pulse> {
    let mut begun = None;
    let mut pulses = vec![];
    for edge in edges.iter().filter(|edge| edge.pin == pin) {
        if edge.high == active_high {
            begun = begun.or(Some(edge.at));
        } else if let Some(at) = begun.take() {
            pulses.push(Pulse { at, width: edge.at - at });
        }
    }
    pulses
}

/// The gaps between pulses that follow each other.
pub fn gaps(pulses: &[Pulse]) -> Vec<Duration> {
    pulses.windows(2).map(|pair| pair[1].at - (pair[0].at + pair[0].width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pulses_of_one_pin() {
        let begun = Instant::now();
        let edge = |ms: u64, pin, high| Edge { at: begun + Duration::from_millis(ms), pin, high };
        let edges = [
            edge(0, 1, false),
            edge(10, 1, true),
            edge(15, 2, true),
            edge(60, 1, false),
            edge(160, 1, true),
            edge(210, 1, false),
            edge(300, 1, true),
        ];
        let ms = Duration::from_millis;
        let found = pulses(&edges, 1, true);
        assert_eq!(found, [Pulse { at: begun + ms(10), width: ms(50) }, Pulse { at: begun + ms(160), width: ms(50) }]);
        assert_eq!(gaps(&found), [ms(100)]);
        assert_eq!(pulses(&edges, 1, false).len(), 3);
    }
}
