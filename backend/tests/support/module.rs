//! A module played by the test: it signs real messages and opens real commands.

use super::{app::TestApp, bus::Message};
use backend::flows::operate::register_module::Provisioned;
use minicbor::{Encode, Encoder, encode};
use protocol::{
    MessageKey, ModuleId, ModuleSecret,
    limits::{PAYLOAD_MAX_BYTES, WILL_SEQUENCE},
    messages::{Ack, Action, Command, Mark, Pulse, Reason, Stage, Status, Totals},
    topics::{self, Kind},
};
use std::sync::{Mutex, MutexGuard};

struct Life {
    mark: Mark,
    pulses: u32,
    totals: Totals,
    /// Messages on the bus that were looked at.
    seen: usize,
    unread: Vec<Command>,
}

/// A module.
pub struct TestModule {
    pub id: ModuleId,
    pub secret: ModuleSecret,
    key: MessageKey,
    life: Mutex<Life>,
}

/// Bytes that claim to be a message.
pub struct RawBody(pub Vec<u8>);

impl<C> Encode<C> for RawBody {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0).map_err(encode::Error::write)
    }
}

/// A final `done` with that many pulses.
pub fn done(pulses: u16) -> impl Fn(&mut Ack) {
    move |ack| (ack.stage, ack.pulses) = (Stage::Done, Some(pulses))
}

/// A final `failed` with that many pulses, for a reason.
pub fn failed(pulses: u16, reason: Reason) -> impl Fn(&mut Ack) {
    move |ack| (ack.stage, ack.pulses, ack.reason) = (Stage::Failed, Some(pulses), Some(reason))
}

/// Another stage without more words.
pub fn stage(stage: Stage) -> impl Fn(&mut Ack) {
    move |ack| ack.stage = stage
}

/// `duplicate` of a command that had reached `first` with that many pulses.
pub fn duplicate(first: Stage, pulses: u16) -> impl Fn(&mut Ack) {
    move |ack| (ack.stage, ack.first, ack.pulses) = (Stage::Duplicate, Some(first), Some(pulses))
}

impl TestModule {
    pub fn new(identity: Provisioned) -> Self {
        let key = identity.secret.message_key(identity.id);
        let mark = Mark { boot: 1, session: 1, sequence: 0 };
        let life = Life { mark, pulses: 0, totals: Totals::default(), seen: 0, unread: vec![] };
        Self { id: identity.id, secret: identity.secret, key, life: Mutex::new(life) }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap()
    }

    /// Seals whatever for a topic of this module.
    pub fn seal(&self, kind: Kind, message: &impl Encode<()>) -> Message {
        let topic = topics::topic(self.id, kind);
        let mut payload = [0; PAYLOAD_MAX_BYTES];
        let length = protocol::seal(&self.key, &topic, message, &mut payload).unwrap();
        let payload = payload[..length].to_vec();
        Message { topic: topic.as_str().into(), payload, retain: kind == Kind::Status, expiry_s: None }
    }

    /// Reconnects: with a new session, or after a reboot with a new boot.
    pub fn reconnect(&self, rebooted: bool) {
        let mut life = self.life();
        let Mark { boot, session, .. } = life.mark;
        life.mark = match rebooted {
            true => Mark { boot: boot + 1, session: 1, sequence: 0 },
            false => Mark { boot, session: session + 1, sequence: 0 },
        };
        life.pulses = 0;
    }

    /// Its flash is blank: it begins with its first boot.
    pub fn forget(&self) {
        let mut life = self.life();
        (life.mark, life.pulses) = (Mark { boot: 1, session: 1, sequence: 0 }, 0);
        life.totals = Totals::default();
    }

    /// Its next status, its clock right.
    pub fn status(&self, app: &TestApp, change: impl FnOnce(&mut Status)) -> Message {
        let mut life = self.life();
        life.mark.sequence += 1;
        let mut status = Status {
            mark: life.mark,
            online: true,
            uptime_ms: app.uptime_ms(),
            at_ms: Some(u64::try_from(app.now_ms()).unwrap()),
            last_command: 0,
            settings_version: 0,
            firmware: "test",
            signal_csq: Some(20),
            supply_mv: Some(12_000),
            totals: life.totals,
            faults: 0,
            locked: Some(false),
            learned: None,
            diagnostics: None,
        };
        change(&mut status);
        self.seal(Kind::Status, &status)
    }

    /// The will of its session.
    pub fn will(&self, app: &TestApp) -> Message {
        let mark = Mark { sequence: WILL_SEQUENCE, ..self.life().mark };
        self.status(app, |status| (status.mark, status.online, status.at_ms) = (mark, false, None))
    }

    /// Coins fell: the burst's message.
    pub fn coins(&self, app: &TestApp, pulses: u16) -> Message {
        let mut life = self.life();
        life.totals.coin_pulses += u64::from(pulses);
        life.pulses += 1;
        let pulse = Pulse {
            mark: Mark { sequence: life.pulses, ..life.mark },
            uptime_ms: app.uptime_ms(),
            at_ms: Some(u64::try_from(app.now_ms()).unwrap()),
            pulses,
            coin_pulses_total: life.totals.coin_pulses,
            width_ms: 50,
            gap_ms: 100,
        };
        self.seal(Kind::Pulse, &pulse)
    }

    /// Its running total is from now on this one.
    pub fn set_coin_total(&self, total: u64) {
        self.life().totals.coin_pulses = total;
    }

    /// Its word on a command.
    pub fn ack(&self, app: &TestApp, command: &Command, word: impl FnOnce(&mut Ack)) -> Message {
        let mut ack = Ack {
            command: command.id,
            sequence: command.sequence,
            stage: Stage::Received,
            boot: self.life().mark.boot,
            uptime_ms: app.uptime_ms(),
            at_ms: Some(u64::try_from(app.now_ms()).unwrap()),
            pulses: None,
            reason: None,
            first: None,
        };
        word(&mut ack);
        self.seal(Kind::Ack, &ack)
    }

    pub fn command_topic(&self) -> String {
        topics::topic(self.id, Kind::Command).as_str().into()
    }

    /// What was sent to this module, opened with its key: the signature is checked here.
    pub fn open(&self, message: &Message) -> Command {
        protocol::open(&self.key, &message.topic, &message.payload).expect("a command is signed for its module")
    }

    /// Commands since the last look that fit, repeats included. The others stay to be read.
    pub fn take(&self, app: &TestApp, fits: impl Fn(&Action) -> bool) -> Vec<Command> {
        let messages = app.bus.on(&self.command_topic());
        let mut life = self.life();
        let new = messages[life.seen..].iter().map(|message| self.open(message));
        life.seen = messages.len();
        let all = std::mem::take(&mut life.unread).into_iter().chain(new);
        let (fitting, unread) = all.partition(|command| fits(&command.action));
        life.unread = unread;
        fitting
    }

    /// Credits since the last look, repeats included.
    pub fn credits(&self, app: &TestApp) -> Vec<Command> {
        self.take(app, |action| matches!(action, Action::Credit { .. }))
    }

    /// The one credit since the last look.
    pub fn credit(&self, app: &TestApp) -> Command {
        let credits = self.credits(app);
        assert_eq!(credits.len(), 1, "one credit was expected: {credits:?}");
        credits[0]
    }

    /// Syncs since the last look.
    pub fn syncs(&self, app: &TestApp) -> Vec<Command> {
        self.take(app, |action| matches!(action, Action::Sync(_)))
    }

    /// Probes since the last look.
    pub fn probes(&self, app: &TestApp) -> Vec<Command> {
        self.take(app, |action| matches!(action, Action::Probe))
    }

    /// Takes the next probe off the bus, waiting for it.
    pub async fn next_probe(&self, app: &TestApp) -> Command {
        loop {
            let seen = self.life().seen;
            if let Some(probe) = self.probes(app).pop() {
                return probe;
            }
            app.bus.published(&self.command_topic(), seen).await;
        }
    }
}
