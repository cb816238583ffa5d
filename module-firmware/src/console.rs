//! The module's side of the console: frames in, frames out. `protocol::console` defines them.
//!
//! Invalid input is counted and never executed: a person at a terminal, a boot loader's greeting or noise can do no
//! harm. Repeating a request does the same again, which changes nothing.
//!
//! The console runs beside the link's loop, which alone owns the running module. Its requests to the module go through
//! the [`ConsoleMailbox`]: the board hands them to the loop as inputs, and hands the loop's answers back.

use crate::{
    link::Input,
    module::{Identity, Module},
    provision::{Provision, ServerAddress},
    report::FIRMWARE,
};
use core::cell::Cell;
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Read, Write};
use embedded_storage_async::nor_flash::NorFlash;
use protocol::{
    ModuleId,
    console::{Deframer, Hardware, Info, REQUEST_MAX_BYTES, Refusal, Reply, Request, frame, parse},
    messages::{Settings, faults},
};

/// Bytes taken from the line at once.
const READ_BYTES: usize = 64;
/// The link's loop must run, and settings must be written, within this time; otherwise the module has a serious fault.
const TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where console and link's loop meet. One executor polls both: it is not for several threads.
pub struct ConsoleMailbox {
    settings: Cell<Option<Settings>>,
    wants_info: Cell<bool>,
    asked: Signal<NoopRawMutex, ()>,
    reported: Signal<NoopRawMutex, Info<'static>>,
}

impl Default for ConsoleMailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl ConsoleMailbox {
    /// No request and no answer.
    pub const fn new() -> Self {
        Self { settings: Cell::new(None), wants_info: Cell::new(false), asked: Signal::new(), reported: Signal::new() }
    }

    /// For [`crate::link::Board::take_input`].
    pub fn take_input(&self) -> Option<Input> {
        if let Some(settings) = self.settings.take() {
            return Some(Input::Settings(settings));
        }
        self.wants_info.take().then_some(Input::Tell)
    }

    /// Waits until there is an input to take: for [`crate::link::Board::wait`].
    pub async fn asked(&self) {
        self.asked.wait().await;
    }

    /// For [`crate::link::Board::tell`].
    pub fn tell(&self, info: &Info<'static>) {
        self.reported.signal(*info);
    }

    async fn info(&self) -> Option<Info<'static>> {
        self.reported.reset();
        self.wants_info.set(true);
        self.asked.signal(());
        with_timeout(TELL_TIMEOUT, self.reported.wait()).await.ok()
    }

    /// Gives settings to the module; true once they are in flash and in force.
    async fn take_settings(&self, settings: Settings) -> bool {
        self.settings.set(Some(settings));
        // Told once they are written, or could not be.
        let Some(info) = self.info().await else { return false };
        // A learned profile stays in force.
        let taken = (Settings { profile: settings.profile, ..info.settings }) == settings;
        taken && info.faults & faults::FLASH == 0
    }
}

impl Module {
    /// Takes settings that did not come from the server. They are written, and in force then; the server's next
    /// settings replace them.
    pub fn take_settings(&mut self, settings: Settings) {
        self.pending.local_settings = Some(settings);
    }

    /// Whether such settings wait to be written.
    pub fn is_taking_settings(&self) -> bool {
        self.pending.local_settings.is_some()
    }

    /// The module's state. The board and the console fill in what the module itself does not know.
    pub fn info(&self, now_us: u64) -> Info<'static> {
        Info {
            firmware: FIRMWARE,
            board: "",
            id: None,
            server: None,
            uptime_ms: now_us / 1000,
            boot: self.boots(),
            connected: self.is_connected(),
            faults: self.faults(),
            totals: self.totals(),
            settings: Settings { profile: self.profile(), ..*self.settings() },
            learned: self.learning.reported(),
            diagnostics: self.diagnostics(),
            hardware: Hardware::default(),
        }
    }
}

/// The console's state over what comes in.
#[derive(Debug, Default)]
struct Console {
    deframer: Deframer<REQUEST_MAX_BYTES>,
    bad_frames: u32,
}

/// What a frame asked for.
enum Asked<'a> {
    Request(u32, Request<'a>),
    /// A whole frame, and no request of this firmware.
    Nonsense(u32),
}

impl Console {
    fn push(&mut self, byte: u8) -> Option<Asked<'_>> {
        let asked = match self.deframer.push(byte)? {
            Ok(body) => parse(body).map(|(number, request)| match request {
                Some(request) => Asked::Request(number, request),
                None => Asked::Nonsense(number),
            }),
            Err(_) => None,
        };
        if !matches!(asked, Some(Asked::Request(..))) {
            self.bad_frames = self.bad_frames.saturating_add(1);
        }
        asked
    }
}

/// Why [`run`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A restart was asked for, and answered.
    Restart,
}

/// Answers requests until one asks for a restart, or the line fails. `id` is who the module is since boot.
///
/// # Errors
/// What the line gives.
pub async fn run<P: Read + Write, F: NorFlash>(
    port: &mut P,
    provision: &mut Provision<F>,
    id: Option<ModuleId>,
    mailbox: &ConsoleMailbox,
) -> Result<Ended, P::Error> {
    let mut console = Console::default();
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = port.read(&mut bytes).await?;
        for byte in bytes.iter().take(count) {
            let bad_frames = console.bad_frames;
            match console.push(*byte) {
                None => {}
                Some(Asked::Nonsense(number)) => say(port, number, &Reply::Refused(Refusal::Invalid)).await?,
                Some(Asked::Request(number, Request::Info)) => {
                    tell(port, number, provision, id, bad_frames, mailbox).await?;
                }
                Some(Asked::Request(number, request)) => {
                    let restarts = matches!(request, Request::Reboot | Request::Erase);
                    let done = change(provision, id, mailbox, request).await;
                    let reply = match done {
                        Ok(()) => Reply::Done,
                        Err(refusal) => Reply::Refused(refusal),
                    };
                    say(port, number, &reply).await?;
                    if restarts && done.is_ok() {
                        return Ok(Ended::Restart);
                    }
                }
            }
        }
    }
}

async fn change<F: NorFlash>(
    provision: &mut Provision<F>,
    id: Option<ModuleId>,
    mailbox: &ConsoleMailbox,
    request: Request<'_>,
) -> Result<(), Refusal> {
    match request {
        Request::Info | Request::Reboot => Ok(()),
        Request::SetIdentity { id, secret, replace } => {
            let identity = Identity { id, secret };
            let before = provision.identity().await.map_err(|_| Refusal::Flash)?;
            let other = before.is_some_and(|before| before.id != identity.id || before.secret != identity.secret);
            if other && !replace {
                return Err(Refusal::OtherIdentity);
            }
            provision.set_identity(&identity).await.map_err(|_| Refusal::Flash)
        }
        Request::SetServer(server) => {
            let server = ServerAddress::new(&server).ok_or(Refusal::Invalid)?;
            provision.set_server(&server).await.map_err(|_| Refusal::Flash)
        }
        // Settings of a module without identity would be erased when it gets one.
        Request::SetSettings(_) if id.is_none() => Err(Refusal::NoIdentity),
        Request::SetSettings(settings) if !settings.is_valid() => Err(Refusal::Invalid),
        Request::SetSettings(settings) => mailbox.take_settings(settings).await.then_some(()).ok_or(Refusal::Flash),
        // Totals and journal are erased at the next boot: they belong to no identity then.
        Request::Erase => provision.erase().await.map_err(|_| Refusal::Flash),
    }
}

async fn tell<P: Read + Write, F: NorFlash>(
    port: &mut P,
    number: u32,
    provision: &mut Provision<F>,
    id: Option<ModuleId>,
    bad_frames: u32,
    mailbox: &ConsoleMailbox,
) -> Result<(), P::Error> {
    // A loop that hangs is detected by the watchdog.
    let Some(info) = mailbox.info().await else { return Ok(()) };
    // As stored: the values used after a restart.
    let server = provision.server().await.ok().flatten();
    let hardware = Hardware { bad_frames, ..info.hardware };
    let info = Info { id, server: server.as_ref().map(ServerAddress::reported), hardware, ..info };
    say(port, number, &Reply::Info(info)).await
}

async fn say<P: Write>(port: &mut P, number: u32, reply: &Reply<'_>) -> Result<(), P::Error> {
    // Every reply fits a frame: a test frames the longest.
    let Ok(frame) = frame(number, reply) else { return Ok(()) };
    port.write_all(&frame).await?;
    port.flush().await
}
