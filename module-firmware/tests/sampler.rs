//! The coin line as read: exact to the microsecond, for both kinds of contact, through bounce, noise and a stuck line.
#![allow(clippy::unwrap_used)]

use module_firmware::coinline::sampler::{BURST_PULSES_MAX, Burst, LineEvent, Sampler};
use proptest::prelude::*;
use protocol::messages::CoinProfile;

/// A quarter of the default profile's shortest width.
const SETTLE_US: u64 = 3_750;
const BURST_END_US: u64 = 300_000;
const START_US: u64 = 1_000_000;

/// A line with its reader, which is called exactly when it asks to be.
struct Line {
    sampler: Sampler,
    idle_high: bool,
    events: Vec<(u64, LineEvent)>,
}

impl Line {
    fn new(profile: CoinProfile) -> Self {
        Self { sampler: Sampler::new(&profile, profile.idle_high, 0), idle_high: profile.idle_high, events: vec![] }
    }

    fn open() -> Self {
        Self::new(CoinProfile::default())
    }

    fn run_to(&mut self, until_us: u64) {
        while let Some(due_us) = self.sampler.deadline_us().filter(|due_us| *due_us < until_us) {
            self.advance(due_us);
        }
        self.advance(until_us);
    }

    fn advance(&mut self, now_us: u64) {
        let events = &mut self.events;
        self.sampler.advance(now_us, &mut |event| events.push((now_us, event)));
        assert!(self.sampler.deadline_us().is_none_or(|due_us| due_us > now_us), "due again at {now_us}");
    }

    fn edge(&mut self, at_us: u64, active: bool) {
        self.run_to(at_us);
        let events = &mut self.events;
        self.sampler.edge(at_us, active != self.idle_high, &mut |event| events.push((at_us, event)));
    }

    fn edges(&mut self, at_us: impl IntoIterator<Item = u64>) {
        for (index, at_us) in at_us.into_iter().enumerate() {
            self.edge(at_us, index % 2 == 0);
        }
    }

    fn counted(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, LineEvent::Idle { counted: true, .. })).count()
    }

    fn bursts(&self) -> Vec<Burst> {
        self.events
            .iter()
            .filter_map(|(_, e)| if let LineEvent::BurstEnd(burst) = e { Some(*burst) } else { None })
            .collect()
    }
}

#[test]
fn reads_every_width_from_20_to_500_ms_on_both_kinds_of_contact() {
    for idle_high in [true, false] {
        for width_ms in 20..=500_u16 {
            let mut line = Line::new(CoinProfile { idle_high, ..CoinProfile::default() });
            let end_us = START_US + u64::from(width_ms) * 1000;
            line.edges([START_US, end_us]);
            line.run_to(end_us + BURST_END_US);
            let width_us = u64::from(width_ms) * 1000;
            let expected = [
                (START_US + SETTLE_US, LineEvent::Active { again: false }),
                (end_us + SETTLE_US, LineEvent::Idle { width_us, counted: true }),
                (
                    end_us + BURST_END_US,
                    LineEvent::BurstEnd(Burst { pulses: 1, width_ms, gap_ms: 0, ended_us: end_us }),
                ),
            ];
            assert_eq!(line.events, expected, "{width_ms} ms, idle high: {idle_high}");
            assert_eq!(line.sampler.noise_edges(), 0);
        }
    }
}

#[test]
fn bounds_are_exact() {
    for (width_us, counts) in [(14_999, false), (15_000, true), (600_000, true), (600_001, false)] {
        let mut line = Line::open();
        line.edges([START_US, START_US + width_us]);
        line.run_to(START_US + 2_000_000);
        assert_eq!(line.counted() == 1, counts, "{width_us}");
        assert_eq!(line.sampler.noise_edges(), if counts { 0 } else { 2 });
    }
}

#[test]
fn bounce_at_both_ends_is_one_pulse_and_no_noise() {
    let mut line = Line::open();
    let ms = |tenths: u64| START_US + tenths * 100;
    line.edges([0, 4, 8, 12, 15, 520, 525, 530, 550].map(ms).into_iter().chain([ms(552)]));
    line.run_to(START_US + 1_000_000);
    assert_eq!(line.counted(), 1);
    assert_eq!(line.bursts(), [Burst { pulses: 1, width_ms: 54, gap_ms: 0, ended_us: ms(552) }]);
    assert_eq!(line.sampler.noise_edges(), 0);
}

#[test]
fn a_bounce_that_outlasts_the_settling_time_is_not_a_second_pulse() {
    let mut line = Line::open();
    // Idle for 10 ms, which is below the least gap, then active for 20 ms, which is a pulse's width.
    line.edges([0, 50_000, 60_000, 80_000].map(|us| START_US + us));
    line.run_to(START_US + 1_000_000);
    assert_eq!(line.counted(), 1);
    assert_eq!(line.bursts().len(), 1);
    assert_eq!(line.bursts()[0].ended_us, START_US + 80_000);
}

#[test]
fn glitches_on_a_resting_line_are_noise() {
    let mut line = Line::open();
    for n in 0..10 {
        let at_us = START_US + n * 100_000;
        line.edges([at_us, at_us + 3_749]);
    }
    line.run_to(START_US + 2_000_000);
    assert_eq!(line.events, []);
    assert_eq!(line.sampler.noise_edges(), 20);
}

#[test]
fn a_stuck_line_is_told_once_and_freed_by_a_settled_rest() {
    let mut line = Line::open();
    line.edge(START_US, true);
    line.run_to(START_US + 10_000_000);
    assert_eq!(line.events[1..], [(START_US + 600_001, LineEvent::Stuck)]);
    let end_us = START_US + 10_000_000;
    line.edge(end_us, false);
    line.run_to(end_us + 1_000_000);
    let idle = LineEvent::Idle { width_us: 10_000_000, counted: false };
    assert_eq!(line.events[2..], [(end_us + SETTLE_US, idle), (end_us + SETTLE_US, LineEvent::Freed)]);
    line.edges([end_us + 2_000_000, end_us + 2_050_000]);
    line.run_to(end_us + 3_000_000);
    assert_eq!(line.counted(), 1, "coins count again");
}

#[test]
fn a_train_without_a_pause_is_told_in_parts() {
    let mut line = Line::open();
    let pulses = u64::from(BURST_PULSES_MAX) + 7;
    line.edges((0..2 * pulses).map(|n| START_US + n * 50_000));
    line.run_to(START_US + 2 * pulses * 50_000 + 1_000_000);
    let told: Vec<_> = line.bursts().iter().map(|burst| (burst.pulses, burst.width_ms)).collect();
    assert_eq!(told, [(BURST_PULSES_MAX, 50), (7, 50)]);
    assert_eq!(line.counted() as u64, pulses);
}

proptest! {
    /// Any pulses within the profile, with any bounce shorter than the settling time, are counted each once; and a
    /// reader that is late by any time reads the same.
    #[test]
    fn counts_each_pulse_once(
        idle_high: bool,
        pulses in prop::collection::vec((20_000_u64..500_000, 20_000_u64..900_000, 0_u64..3, 0_u64..3), 1..40),
    ) {
        let profile = CoinProfile { idle_high, ..CoinProfile::default() };
        let mut edges = vec![];
        let mut at_us = START_US;
        for (width_us, gap_us, bounces, more) in &pulses {
            edges.push(at_us);
            // Twice so many edges as bounces, half a millisecond apart.
            edges.extend((1..=2 * bounces).map(|n| at_us + n * 500));
            at_us += width_us;
            edges.push(at_us);
            edges.extend((1..=2 * more).map(|n| at_us + n * 500));
            at_us += gap_us;
        }
        let mut exact = Line::new(profile);
        exact.edges(edges.iter().copied());
        exact.run_to(at_us + 1_000_000);
        prop_assert_eq!(exact.counted(), pulses.len());
        prop_assert_eq!(exact.sampler.noise_edges(), 0);
        prop_assert_eq!(exact.bursts().iter().map(|burst| usize::from(burst.pulses)).sum::<usize>(), pulses.len());
        let mut late = Line::new(profile);
        let events = &mut late.events;
        for (index, at_us) in edges.iter().enumerate() {
            late.sampler.edge(*at_us, (index % 2 == 0) != idle_high, &mut |event| events.push((0, event)));
        }
        late.run_to(at_us + 1_000_000);
        prop_assert_eq!(late.counted(), exact.counted());
        prop_assert_eq!(late.bursts(), exact.bursts());
    }
}
