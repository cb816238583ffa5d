//! Limits how many lines each place in the program may log in a minute. Omitted lines are counted and reported.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tracing::{Event, Subscriber, callsite::Identifier, field::Field};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that one place may write at once.
const BURST_LINES: u32 = 30;
/// After those, one more line per this time.
const REFILL_INTERVAL: Duration = Duration::from_secs(2);
/// How much of a line is shown when lines like it were omitted.
const EXAMPLE_CHARS: usize = 160;

/// What each place in the program wrote.
#[derive(Default)]
pub struct LogRateLimiter(Mutex<HashMap<Identifier, CallSite>>);

/// A place in the program that writes lines.
struct CallSite {
    /// Lines it may still write, and the time for which that holds.
    free: u32,
    since: Instant,
    suppressed: u64,
    /// Its module, and the first line that was left out.
    example: String,
}

impl LogRateLimiter {
    /// Whether a line of this place is written.
    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || CallSite { free: BURST_LINES, since: now, suppressed: 0, example: String::new() };
        let place = places.entry(event.metadata().callsite()).or_insert_with(new);
        if place.takes(now) {
            return true;
        }
        if place.suppressed == 0 {
            place.example = example(event);
        }
        place.suppressed += 1;
        false
    }

    /// A line for each place with omitted lines since the last report.
    pub fn take_suppressed(&self) -> Vec<String> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = places.values_mut().filter(|place| place.suppressed > 0);
        suppressed
            .map(|place| {
                let count = std::mem::take(&mut place.suppressed);
                let example = std::mem::take(&mut place.example);
                format!("{count} lines were left out like this one: {example}")
            })
            .collect()
    }
}

impl CallSite {
    fn takes(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_millis() / REFILL_INTERVAL.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if self.free.saturating_add(earned) >= BURST_LINES {
            (self.free, self.since) = (BURST_LINES, now);
        } else {
            self.free += earned;
            self.since += REFILL_INTERVAL * earned;
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

/// Lets lines through that are within the limit.
pub struct Limit(pub std::sync::Arc<LogRateLimiter>);

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
    fn lines_beyond_the_limit_are_counted_and_reported_and_others_pass() {
        let (rate_limiter, lines) = (Arc::new(LogRateLimiter::default()), Arc::new(AtomicU64::new(0)));
        let subscriber = tracing_subscriber::registry().with(Limit(rate_limiter.clone())).with(Lines(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for stranger in 0..1000 {
                tracing::warn!(stranger, "a callback\nwas refused");
            }
            tracing::warn!("something else");
        });
        let written = lines.load(Ordering::Relaxed);
        // On a slow computer some more may be allowed by now.
        assert!((u64::from(BURST_LINES) + 1..500).contains(&written), "{written}");
        let told = rate_limiter.take_suppressed();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(&format!("{} lines were left out", 1001 - written)), "{told:?}");
        assert!(told[0].contains("a callback was refused stranger="), "{told:?}");
        assert!(rate_limiter.take_suppressed().is_empty(), "told once");
    }

    #[test]
    fn a_call_site_regains_its_lines() {
        let start = Instant::now();
        let mut place = CallSite { free: BURST_LINES, since: start, suppressed: 0, example: String::new() };
        let taken = |place: &mut CallSite, now| (0..1000).filter(|_| place.takes(now)).count() as u32;
        assert_eq!(taken(&mut place, start), BURST_LINES);
        assert_eq!(taken(&mut place, start + REFILL_INTERVAL), 1);
        assert_eq!(taken(&mut place, start + REFILL_INTERVAL * 3 / 2), 0);
        assert_eq!(taken(&mut place, start + REFILL_INTERVAL * 4), 3);
        assert_eq!(taken(&mut place, start + REFILL_INTERVAL * 1000), BURST_LINES);
        assert_eq!(taken(&mut place, start), 0, "a clock that stands still earns nothing");
    }
}
