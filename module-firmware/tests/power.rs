//! Power cuts, and flash that is blank, full, torn, failing or nonsense.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::{StoreError, module::FLASH_RETRY_US, store::Store};
use protocol::messages::{Action, Command, Reason, Settings, Stage, faults};
use support::{Bench, Flash, PAGE, Said, UNIX_MS};

/// The most a module said of its totals.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    coins: u64,
    credits: u64,
}

impl Told {
    fn hear(&mut self, said: &[Said]) {
        for said in said {
            match said {
                Said::Status { coins, credits, .. } => {
                    assert!(*coins >= self.coins, "coin pulses fell from {} to {coins}", self.coins);
                    assert!(*credits >= self.credits, "credit pulses fell from {} to {credits}", self.credits);
                    (self.coins, self.credits) = (*coins, *credits);
                }
                Said::Pulse(pulse) => {
                    assert!(pulse.coin_pulses_total >= self.coins);
                    self.coins = pulse.coin_pulses_total;
                }
                Said::Ack(_) => {}
            }
        }
    }
}

/// How the world stood when a write to flash was under way.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now_us: u64,
    /// Commands sent.
    sent: usize,
    /// Pulses that the acceptor gave, and credit pulses that the machine got.
    coins: u64,
    credits: u64,
    /// Messages said before, at least.
    said: usize,
}

/// A run that notes how the world stood at each write.
struct Run {
    bench: Bench,
    torn: std::rc::Rc<std::cell::RefCell<Vec<Flash>>>,
    moments: Vec<Moment>,
    commands: Vec<Command>,
    coins: u64,
    said: usize,
}

impl Run {
    fn new() -> Self {
        let mut flash = Flash::blank(4);
        let torn = flash.keep_torn();
        let mut run = Self { bench: Bench::ready(flash), torn, moments: vec![], commands: vec![], coins: 0, said: 0 };
        run.note();
        run
    }

    fn note(&mut self) {
        let moment = Moment {
            now_us: self.bench.now_us,
            sent: self.commands.len(),
            coins: self.coins,
            credits: self.bench.credit_train().len() as u64,
            said: self.said,
        };
        self.moments.resize(self.torn.borrow().len(), moment);
        self.said = self.bench.said.len();
    }

    /// Lets time pass in steps short enough that each write has its own moment.
    fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.bench.run_ms(10);
            self.note();
        }
    }

    fn send(&mut self, action: Action) {
        let sequence = self.commands.len() as u32 + 1;
        let mut command = self.bench.command(sequence, action);
        command.expires_ms = command.issued_ms + 3_600_000;
        self.commands.push(command);
        self.bench.send(&command);
        self.note();
    }

    fn coin(&mut self) {
        self.bench.edge(false);
        self.run_ms(50);
        self.coins += 1;
        self.bench.edge(true);
        self.run_ms(350);
    }
}

fn a_long_run() -> Run {
    let mut run = Run::new();
    for n in 0..36_u16 {
        run.send(Action::Credit { pulses: 1 + n % 3 });
        run.run_ms(400);
        if n % 4 == 0 {
            run.coin();
        }
        if n % 9 == 0 {
            run.send(Action::Settings(Settings { version: 1 + u32::from(n), ..Settings::default() }));
            run.run_ms(50);
        }
        if n % 12 == 0 {
            run.send(Action::Lock { locked: false });
            run.run_ms(50);
        }
    }
    run
}

fn pulses(command: &Command) -> u64 {
    if let Action::Credit { pulses } = command.action { u64::from(pulses) } else { 0 }
}

/// Power is back: each command is sent again, and its outcome is compared with what the machine got.
fn takes_up(run: &Run, moment: &Moment, flash: Flash, told: Told) {
    let mut bench = Bench::ready_at(flash, UNIX_MS + moment.now_us / 1000 + 1000);
    let sent = &run.commands[..moment.sent];
    for command in sent {
        bench.send(command);
        bench.run_ms(10);
    }
    bench.run_ms(1500);
    bench.said.push(read_status(&bench));
    let mut told = told;
    told.hear(&bench.said);
    let asked: u64 = sent.iter().map(pulses).sum();
    let given_after = bench.credit_train().len() as u64;
    let acks = bench.acks();
    let last = sent.iter().rfind(|command| pulses(command) > 0);
    for command in sent.iter().filter(|command| pulses(command) > 0) {
        let ack = acks.iter().rfind(|ack| ack.sequence == command.sequence).expect("every credit is answered");
        let outcome = ack.first.unwrap_or(ack.stage);
        if Some(command) != last {
            // Out of the window it is refused, without a word on what came of it.
            let forgotten = (ack.stage, ack.reason) == (Stage::Failed, Some(Reason::TooOld));
            assert!(outcome == Stage::Done || forgotten, "{ack:?}");
            continue;
        }
        let before = moment.credits - (asked - pulses(command));
        match outcome {
            Stage::Done => assert_eq!(before + given_after, pulses(command)),
            Stage::Failed => {
                let known = u64::from(ack.pulses.unwrap());
                assert_eq!((ack.reason, given_after), (Some(Reason::PowerLost), 0));
                assert!(known <= before && before <= known + 1, "{known} known of {before}");
            }
            Stage::Received | Stage::Expired | Stage::Duplicate | Stage::Clock | Stage::Unknown(_) => panic!("{ack:?}"),
        }
        assert!(before == 0 || given_after == 0, "given again");
    }
    let totals = bench.module.totals();
    assert!(totals.coin_pulses <= moment.coins && totals.coin_pulses + 1 >= moment.coins, "{totals:?} {moment:?}");
    let credits = moment.credits + given_after;
    assert!(totals.credit_pulses <= credits && totals.credit_pulses + 1 >= credits, "{totals:?} {moment:?}");
    let settings = sent.iter().filter(|command| matches!(command.action, Action::Settings(_)));
    let newest = settings.map(|command| if let Action::Settings(s) = command.action { s.version } else { 0 }).max();
    assert_eq!(bench.module.settings().version, newest.unwrap_or(0), "what was repeated is applied");
}

fn read_status(bench: &Bench) -> Said {
    let payload = bench.module.farewell(bench.now_us);
    support::read(protocol::topics::Kind::Status, &payload)
}

#[test]
fn power_cut_at_every_write_of_a_long_run() {
    let run = a_long_run();
    assert_eq!(run.torn.borrow().len(), run.moments.len());
    let torn = run.torn.borrow();
    assert!(torn.last().unwrap().erasures > 4, "the store turned its pages over");
    assert!(torn.len() > 1000, "{} writes", torn.len());
    let mut told = Told::default();
    let mut heard = 0;
    for (flash, moment) in torn.iter().zip(&run.moments) {
        told.hear(&run.bench.said[heard..moment.said]);
        heard = moment.said;
        takes_up(&run, moment, flash.clone(), told);
    }
}

/// The server has forgotten the sequence as well: what it sends has the payment's id and a sequence of its own.
#[test]
fn power_cut_at_every_write_and_the_sequence_is_forgotten() {
    let run = a_long_run();
    for (flash, moment) in run.torn.borrow().iter().zip(&run.moments) {
        let sent = &run.commands[..moment.sent];
        let Some(last) = sent.iter().rfind(|command| pulses(command) > 0) else { continue };
        let mut bench = Bench::ready_at(flash.clone(), UNIX_MS + moment.now_us / 1000 + 1000);
        let again = Command { sequence: last.sequence + 1000, ..*last };
        bench.send(&again);
        bench.run_ms(1500);
        let ack = bench.acks().into_iter().rfind(|ack| ack.command == last.id).expect("it is answered");
        let before = moment.credits - (sent.iter().map(pulses).sum::<u64>() - pulses(last));
        let given_after = bench.credit_train().len() as u64;
        match ack.first.unwrap_or(ack.stage) {
            Stage::Done => assert_eq!(before + given_after, pulses(last)),
            Stage::Failed => assert_eq!((ack.reason, given_after), (Some(Reason::PowerLost), 0)),
            Stage::Received | Stage::Expired | Stage::Duplicate | Stage::Clock | Stage::Unknown(_) => panic!("{ack:?}"),
        }
        assert!(before == 0 || given_after == 0, "given again");
    }
}

#[test]
fn power_cut_at_every_write_of_taking_up_after_a_cut() {
    let run = a_long_run();
    let torn = run.torn.borrow();
    for (flash, moment) in torn.iter().zip(&run.moments).step_by(torn.len() / 24) {
        let mut flash = flash.clone();
        let torn_again = flash.keep_torn();
        // A boot alone: it writes its count, repairs, and settles a credit that was cut.
        let mut bench = Bench::boot(flash);
        bench.run_ms(100);
        for twice in torn_again.borrow().iter() {
            takes_up(&run, moment, twice.clone(), Told::default());
        }
    }
}

#[test]
fn power_cut_in_the_middle_of_a_pulse() {
    let mut bench = Bench::ready(Flash::blank(8));
    let credit = bench.command(1, Action::Credit { pulses: 5 });
    bench.send(&credit);
    bench.run_ms(130);
    assert!(bench.outputs.credit);
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 1000);
    bench.run_ms(5000);
    bench.send(&credit);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.first, ack.reason), (Stage::Duplicate, Some(Stage::Failed), Some(Reason::PowerLost)));
    assert_eq!(ack.pulses, Some(1), "the one in progress is not known to have been given");
    bench.run_ms(5000);
    assert!(bench.credit_train().is_empty());
    assert_eq!(bench.module.totals().credit_pulses, 1);
}

#[test]
fn an_interrupted_credit_is_reported_until_the_broker_has_it() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.credit(1, 5);
    bench.run_ms(130);
    let mut bench = Bench::boot(bench.cut());
    bench.connect();
    let told = |bench: &Bench| bench.acks().iter().map(|ack| (ack.stage, ack.reason, ack.pulses)).collect::<Vec<_>>();
    assert_eq!(told(&bench), [(Stage::Failed, Some(Reason::PowerLost), Some(1))]);
    let mut bench = Bench::boot(bench.cut());
    bench.connect();
    assert_eq!(told(&bench), [], "it was heard");
}

#[test]
fn an_outcome_in_flight_when_the_connection_goes_is_told_again() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.credit(1, 1);
    bench.online = false;
    bench.run_ms(500);
    let unheard = bench.module.outgoing(bench.now_us).unwrap();
    bench.disconnect();
    bench.module.published(unheard.token);
    bench.connect();
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn coins_without_a_network_are_in_the_totals_of_the_next_status() {
    let mut bench = Bench::restart(Flash::blank(8));
    bench.coins(7, 50, 50);
    bench.run_ms(1000);
    let mut bench = Bench::boot(bench.cut());
    bench.connect();
    assert!(matches!(bench.said[0], Said::Status { coins: 7, boot: 2, .. }), "{:?}", bench.said);
}

#[test]
fn noise_is_counted_over_boots_and_never_falls() {
    let mut bench = Bench::ready(Flash::blank(8));
    let noise = |bench: &mut Bench| {
        bench.edge(false);
        bench.run_ms(1);
        bench.edge(true);
        bench.run_ms(100);
    };
    noise(&mut bench);
    assert_eq!(bench.module.totals().noise_edges, 2);
    let mut bench = Bench::ready(bench.cut());
    assert_eq!(bench.module.totals().noise_edges, 0, "lost, but never told");
    noise(&mut bench);
    bench.run_ms(1_800_000);
    let mut bench = Bench::ready(bench.cut());
    assert_eq!(bench.module.totals().noise_edges, 2);
    noise(&mut bench);
    assert_eq!(bench.module.totals().noise_edges, 4);
}

#[test]
fn nonsense_in_flash_is_forgotten_and_what_it_may_have_held_is_refused() {
    let mut random = 7_u64;
    for _ in 0..20 {
        let mut flash = Flash::blank(8);
        for byte in &mut flash.bytes {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (random >> 33) as u8;
        }
        let mut bench = Bench::ready(flash);
        bench.run_ms(FLASH_RETRY_US / 1000 + 100);
        assert_eq!(bench.module.faults(), 0);
        let old = Command { issued_ms: UNIX_MS - 1000, ..bench.command(1, Action::Credit { pulses: 1 }) };
        bench.send(&old);
        bench.run_ms(100);
        assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::TooOld)));
        bench.credit(2, 1);
        bench.run_ms(500);
        assert_eq!(bench.last_ack().stage, Stage::Done);
    }
}

#[test]
fn the_least_flash_lasts_and_a_smaller_one_is_refused() {
    let mut bench = Bench::ready(Flash::blank(4096 / PAGE));
    for sequence in 1..=300 {
        bench.credit(sequence, 1);
        // Under the cap per minute.
        bench.run_ms(300);
        assert_eq!(bench.last_ack().stage, Stage::Done, "{sequence}");
    }
    assert_eq!(bench.module.totals().credit_pulses, 300);
    let flash = Flash::blank(4096 / PAGE - 1);
    assert_eq!(Store::new(flash).err(), Some(StoreError::Geometry));
}

#[test]
fn flash_that_fails_gives_no_credit_passes_coins_and_comes_back() {
    let mut refused = 0;
    for cut_after in 40..100 {
        let mut flash = Flash::blank(8);
        flash.cut_after = Some(cut_after);
        let mut bench = Bench::ready(flash);
        let mut sequence = 0;
        while bench.module.faults() & faults::FLASH == 0 {
            sequence += 1;
            bench.credit(sequence, 1);
            bench.run_ms(200);
        }
        let given = bench.credit_train().len();
        let ack = bench.acks().into_iter().rfind(|ack| ack.sequence == sequence).unwrap();
        if ack.stage == Stage::Done {
            assert_eq!((ack.pulses, given), (Some(1), sequence as usize));
        } else {
            assert_eq!((ack.stage, ack.reason), (Stage::Failed, Some(Reason::Flash)));
            assert_eq!(given as u32, sequence - 1 + u32::from(ack.pulses.unwrap()));
            refused += u32::from(ack.pulses == Some(0));
        }
        still_passes_coins(bench, given);
    }
    assert!(refused > 0, "some credit was not begun because it could not be journaled");
}

#[test]
fn one_refused_write_of_settings_is_no_fault_for_ever() {
    let flash = Flash::blank(8);
    let refuse = flash.refuse.clone();
    let mut bench = Bench::ready(flash);
    refuse.set(1);
    bench.settings(1, Settings { version: 1, ..Settings::default() });
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Flash)));
    assert_eq!(bench.module.faults(), faults::FLASH);
    bench.run_ms(FLASH_RETRY_US / 1000 + 1);
    assert_eq!(bench.module.faults(), 0, "nothing tried it again");
    bench.settings(2, Settings { version: 1, ..Settings::default() });
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

fn still_passes_coins(mut bench: Bench, given: usize) {
    assert!(bench.module.counters().flash_failures > 0);
    let lock = bench.command(500, Action::Lock { locked: true });
    bench.send(&lock);
    bench.run_ms(FLASH_RETRY_US / 1000 + 1);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Flash)));
    bench.credit(501, 1);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Fault)));
    bench.coins(3, 50, 50);
    bench.run_ms(1000);
    assert_eq!((bench.credit_train().len(), bench.coin_train().len()), (given, 3));
    assert_eq!(bench.module.totals().coin_pulses, 3);
    let mut bench = Bench::ready(bench.cut());
    bench.credit(502, 1);
    bench.run_ms(500);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn a_total_is_told_only_when_flash_has_it() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.credit(1, 1);
    bench.run_ms(5);
    bench.coins(1, 20, 10);
    assert!(bench.outputs.credit, "flash is not written during a pulse");
    assert_eq!(bench.module.totals().coin_pulses, 1);
    bench.disconnect();
    bench.said.clear();
    bench.connect();
    assert!(matches!(bench.said[0], Said::Status { coins: 0, credits: 0, .. }), "{:?}", bench.said[0]);
    bench.run_ms(70_000);
    assert!(matches!(bench.said.last(), Some(Said::Status { coins: 1, credits: 1, .. })), "{:?}", bench.said.last());
}
