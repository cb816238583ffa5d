//! Repeats, reordering and bytes from anyone: each credit once, and never one that was not commanded.
#![allow(clippy::unwrap_used)]

mod support;

use minicbor::{Encode, Encoder, encode};
use module_firmware::coinline::trial::TEST_PULSES_MAX;
use proptest::prelude::*;
use protocol::{
    messages::{Action, CoinProfile, Command, Learn, LearnStage, Settings, Stage},
    seal,
    topics::{Kind, topic},
};
use std::collections::HashMap;
use support::{Bench, Flash, UNIX_MS};

/// A generator that gives the same numbers each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn a_thousand_credits_repeated_and_reordered_over_restarts_are_given_once_each() {
    let mut chance = Chance(1);
    let mut bench = Bench::ready(Flash::blank(8));
    // Each is sent one to four times, up to a dozen places from where it belongs.
    let mut order: Vec<(usize, u32)> = (1..=1000_u32)
        .flat_map(|sequence| vec![sequence; 1 + sequence as usize % 4])
        .map(|sequence| (sequence as usize * 10 + chance.below(120), sequence))
        .collect();
    order.sort_unstable();
    let mut commands: HashMap<u32, Command> = HashMap::new();
    let (mut given, mut done) = (0, HashMap::<u32, u32>::new());
    let mut unix_ms = UNIX_MS;
    let tally = |bench: &Bench, done: &mut HashMap<u32, u32>| {
        for ack in bench.acks().iter().filter(|ack| ack.stage == Stage::Done && ack.sequence > 0) {
            *done.entry(ack.sequence).or_default() += 1;
        }
        bench.credit_train().len()
    };
    for (index, (_, sequence)) in order.iter().enumerate() {
        let command = *commands.entry(*sequence).or_insert_with(|| {
            let command = bench.command(*sequence, Action::Credit { pulses: 1 });
            Command { expires_ms: command.issued_ms + 3_600_000, ..command }
        });
        bench.send(&command);
        bench.run_ms(105);
        if index % 200 == 199 {
            given += tally(&bench, &mut done);
            unix_ms += bench.now_us / 1000 + 1000;
            bench = Bench::ready_at(bench.cut(), unix_ms);
        }
    }
    given += tally(&bench, &mut done);
    assert_eq!(given, 1000);
    assert_eq!(bench.module.totals().credit_pulses, 1000);
    assert_eq!(done.len(), 1000);
    assert!(done.values().all(|times| *times == 1));
}

/// Bytes as a message's body.
struct Raw<'a>(&'a [u8]);

impl<C> Encode<C> for Raw<'_> {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(self.0).map_err(encode::Error::write)
    }
}

/// Bytes signed with the module's own key: what a server gone mad could send.
fn signed(body: &[u8]) -> Vec<u8> {
    let identity = support::identity();
    let key = identity.secret.message_key(identity.id);
    let mut buffer = [0; 256];
    let length = seal(&key, &topic(identity.id, Kind::Command), &Raw(body), &mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn commands() -> Vec<Command> {
    let command = |action| Command { id: 9, sequence: 9, issued_ms: UNIX_MS, expires_ms: UNIX_MS + 60_000, action };
    vec![
        command(Action::Credit { pulses: 3 }),
        command(Action::Settings(Settings { version: 1, ..Settings::default() })),
        command(Action::Lock { locked: true }),
        command(Action::Reboot),
        command(Action::Learn(Learn { coins: 10, confirm: true, test_pulses: 0 })),
        command(Action::Diagnose),
    ]
}

proptest! {
    #[test]
    fn no_bytes_on_any_topic_credit_or_panic(
        messages in prop::collection::vec((".{0,40}", any::<bool>(), prop::collection::vec(any::<u8>(), 0..400)), 1..20),
    ) {
        let mut bench = Bench::ready(Flash::blank(4));
        for (name, ours, payload) in &messages {
            let name = if *ours { bench.module.command_topic().to_owned() } else { name.clone() };
            bench.module.on_message(bench.now_us, &name, payload);
        }
        bench.run_ms(1000);
        prop_assert!(bench.credit_train().is_empty());
        prop_assert!(bench.acks().is_empty());
        let counters = bench.module.counters();
        prop_assert_eq!(counters.bad_tags + counters.bad_payloads, messages.len() as u32);
    }

    #[test]
    fn a_command_with_any_bit_turned_is_not_believed(which in 0_usize..4, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bench = Bench::ready(Flash::blank(4));
        let mut payload = support::sealed(&commands()[which]);
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        bench.send_bytes(&payload);
        bench.run_ms(1000);
        prop_assert!(bench.credit_train().is_empty() && bench.acks().is_empty());
        prop_assert_eq!(bench.module.counters().bad_tags, 1);
        prop_assert!(!bench.module.is_locked());
    }

    #[test]
    fn no_signed_bytes_panic(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..240), 1..20)) {
        let mut bench = Bench::ready(Flash::blank(4));
        for body in &bodies {
            bench.send_bytes(&signed(body));
        }
        bench.run_ms(100);
    }

    /// Any edges, presses and words of the machine while it learns: it ends, in bounded time, with a profile that makes
    /// sense or with the one from before, and what is given on trial is bounded.
    #[test]
    fn no_coin_line_input_breaks_learning(
        seed: u64,
        kinds in prop::collection::vec((0_u8..8, 1_u64..60_000, 1_u64..400), 1..120),
        confirm: bool,
        sense: bool,
    ) {
        let mut bench = Bench::ready(Flash::blank(8));
        bench.settings(1, Settings { version: 1, sense, ..Settings::default() });
        bench.learn(2, 10, confirm);
        bench.run_ms(3_100);
        let mut level = true;
        let mut dice = support::acceptor::Dice(seed);
        for (kind, us, ms) in kinds {
            match kind {
                // A few edges, each after a time of its own.
                0..=3 => for _ in 0..dice.within(1, 12) {
                    level = !level;
                    bench.edge(level);
                    bench.run_to(bench.now_us + dice.within(1, us));
                },
                // A proper coin now and then, so that it gets somewhere.
                4 | 5 => {
                    if !level {
                        level = true;
                        bench.edge(true);
                        bench.run_ms(400);
                    }
                    bench.coins(dice.within(1, 3) as u32, 50, 50);
                    bench.run_ms(ms + 300);
                }
                6 => bench.press_ms(ms),
                _ => {
                    bench.sense(ms % 2 == 0);
                    bench.run_ms(ms);
                }
            }
        }
        bench.edge(true);
        bench.sense(false);
        bench.run_ms(3_600_000);
        let learned = bench.learned().unwrap();
        prop_assert!(matches!(learned.stage, LearnStage::Stored | LearnStage::Failed), "{learned:?}");
        let before = CoinProfile::default();
        let expected = if learned.stage == LearnStage::Stored { learned.profile.unwrap() } else { before };
        prop_assert_eq!(bench.module.profile(), expected);
        prop_assert!(expected.is_valid(), "{expected:?}");
        prop_assert!(bench.credit_train().len() <= usize::from(learned.test_pulses));
        prop_assert!(learned.test_pulses <= TEST_PULSES_MAX);
        prop_assert_eq!(bench.module.totals().credit_pulses, 0);
    }

    /// Any numbers in a signed command, times and sequences at their ends too.
    #[test]
    fn no_signed_numbers_panic(
        numbers in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u16>(), 0_u8..11), 1..20),
    ) {
        let mut bench = Bench::ready(Flash::blank(4));
        for (id, sequence, issued_ms, expires_ms, pulses, action) in numbers {
            let sync = protocol::messages::Sync { server_ms: issued_ms, echo_boot: 1, echo_uptime_ms: expires_ms % 20_000 };
            let action = match action {
                0 => Action::Probe,
                1 | 2 => Action::Credit { pulses },
                3 => Action::Sync(sync),
                4 => Action::Lock { locked: false },
                5 => Action::Reboot,
                6 => Action::Settings(Settings { version: sequence, status_period_s: pulses, ..Settings::default() }),
                7 | 8 => Action::Learn(Learn {
                    coins: pulses.to_be_bytes()[0],
                    confirm: pulses.is_multiple_of(2),
                    test_pulses: pulses.to_be_bytes()[1],
                }),
                9 => Action::Diagnose,
                _ => Action::Locate,
            };
            bench.send(&Command { id, sequence, issued_ms, expires_ms, action });
            bench.run_ms(100);
        }
        bench.run_ms(1000);
    }
}
