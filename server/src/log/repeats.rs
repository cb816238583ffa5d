//! No place in the program writes more than so many lines in a minute; what is left out is counted, and told.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tracing::{Event, Subscriber, callsite::Identifier, field::Field};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that one place may write at once.
const AT_ONCE: u32 = 30;
/// After those, one more each.
const ONE_EACH: Duration = Duration::from_secs(2);
/// As much of a line is told where lines like it were left out.
const EXAMPLE_CHARS: usize = 160;

/// What each place in the program wrote.
#[derive(Default)]
pub struct Repeats(Mutex<HashMap<Identifier, Place>>);

/// A place in the program that writes lines.
struct Place {
    /// Lines it may still write, and since when that is so.
    free: u32,
    since: Instant,
    left_out: u64,
    /// Its module, and the first line that was left out.
    example: String,
}

impl Repeats {
    /// Whether a line of this place is written.
    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Place { free: AT_ONCE, since: now, left_out: 0, example: String::new() };
        let place = places.entry(event.metadata().callsite()).or_insert_with(new);
        if place.takes(now) {
            return true;
        }
        if place.left_out == 0 {
            place.example = example(event);
        }
        place.left_out += 1;
        false
    }

    /// A line for each place of which lines were left out since the last time.
    pub fn take_left_out(&self) -> Vec<String> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = places.values_mut().filter(|place| place.left_out > 0);
        left_out
            .map(|place| {
                let count = std::mem::take(&mut place.left_out);
                let example = std::mem::take(&mut place.example);
                format!("{count} lines were left out like this one: {example}")
            })
            .collect()
    }
}

impl Place {
    fn takes(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_millis() / ONE_EACH.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if self.free.saturating_add(earned) >= AT_ONCE {
            (self.free, self.since) = (AT_ONCE, now);
        } else {
            self.free += earned;
            self.since += ONE_EACH * earned;
        }
        let takes = self.free > 0;
        self.free = self.free.saturating_sub(1);
        takes
    }
}

/// The module, message and fields of a line, in short.
fn example(event: &Event<'_>) -> String {
    let mut text = format!("{}:", event.metadata().target());
    event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
        if text.len() < EXAMPLE_CHARS {
            match field.name() {
                "message" => text.push_str(&format!(" {value:?}")),
                name => text.push_str(&format!(" {name}={value:?}")),
            }
        }
    });
    text.chars().take(EXAMPLE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lets through what is not too often said.
pub struct Limit(pub std::sync::Arc<Repeats>);

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let admitted = self.0.admits(event, Instant::now());
        if !admitted {
            metrics::counter!("coinwire_log_lines_left_out_total").increment(1);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };
    use tracing_subscriber::layer::SubscriberExt;

    /// Counts the lines that come through.
    struct Lines(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_said_too_often_is_counted_and_told_and_other_lines_are_not_touched() {
        let (repeats, lines) = (Arc::new(Repeats::default()), Arc::new(AtomicU64::new(0)));
        let subscriber = tracing_subscriber::registry().with(Limit(repeats.clone())).with(Lines(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for stranger in 0..1000 {
                tracing::warn!(stranger, "a callback\nwas refused");
            }
            tracing::warn!("something else");
        });
        let written = lines.load(Ordering::Relaxed);
        // A slow machine may have earned some more.
        assert!((u64::from(AT_ONCE) + 1..500).contains(&written), "{written}");
        let told = repeats.take_left_out();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(&format!("{} lines were left out", 1001 - written)), "{told:?}");
        assert!(told[0].contains("a callback was refused stranger="), "{told:?}");
        assert!(repeats.take_left_out().is_empty(), "told once");
    }

    #[test]
    fn a_place_earns_its_lines_again() {
        let start = Instant::now();
        let mut place = Place { free: AT_ONCE, since: start, left_out: 0, example: String::new() };
        let taken = |place: &mut Place, now| (0..1000).filter(|_| place.takes(now)).count() as u32;
        assert_eq!(taken(&mut place, start), AT_ONCE);
        assert_eq!(taken(&mut place, start + ONE_EACH), 1);
        assert_eq!(taken(&mut place, start + ONE_EACH * 3 / 2), 0);
        assert_eq!(taken(&mut place, start + ONE_EACH * 4), 3);
        assert_eq!(taken(&mut place, start + ONE_EACH * 1000), AT_ONCE);
        assert_eq!(taken(&mut place, start), 0, "a clock that stands still earns nothing");
    }
}
