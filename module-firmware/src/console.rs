//! The console's end in the module: frames in, frames out. `protocol::console` says what is said.
//!
//! What makes no sense is counted and never answered, so that a person at a terminal, a modem on the wrong socket or a
//! boot loader's greeting get nothing harmful. A request that repeats does the same again, which changes nothing.

use crate::{
    module::Identity,
    provision::{Provision, ServerAddress},
};
use core::future::Future;
use embedded_io_async::{Read, Write};
use embedded_storage_async::nor_flash::NorFlash;
use protocol::{
    ModuleId,
    console::{Deframer, Frame, Info, Refusal, Reply, Request, frame, parse},
    messages::Settings,
};

/// Bytes taken from the line at once.
const READ_BYTES: usize = 64;

/// What the console needs of the rest of the module.
pub trait Desk {
    /// How the module fares; what the console knows itself is filled in by it.
    fn info(&self) -> Info<'_>;
    /// Has the running module take settings; true once they are in flash and in force.
    fn take_settings(&mut self, settings: Settings) -> impl Future<Output = bool>;
    /// Restarts the module. May return before it happens.
    fn reboot(&mut self) -> impl Future<Output = ()>;
}

/// The console's state over what comes in.
#[derive(Debug, Default)]
pub struct Console {
    deframer: Deframer,
    bad_frames: u32,
}

/// What a frame asked for.
enum Asked<'a> {
    Request(u32, Request<'a>),
    /// A whole frame, and no request of this firmware.
    Nonsense(u32),
}

impl Console {
    /// Frames that made no sense.
    pub fn bad_frames(&self) -> u32 {
        self.bad_frames
    }

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

/// Answers requests for ever, or until the line fails.
pub async fn run<P: Read + Write, F: NorFlash, D: Desk>(
    port: &mut P,
    provision: &mut Provision<F>,
    id: Option<ModuleId>,
    desk: &mut D,
) -> Result<(), P::Error> {
    let mut console = Console::default();
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = port.read(&mut bytes).await?;
        for byte in bytes.iter().take(count) {
            let bad_frames = console.bad_frames;
            let (number, request) = match console.push(*byte) {
                None => continue,
                Some(Asked::Nonsense(number)) => {
                    say(port, number, &Reply::Refused(Refusal::Invalid)).await?;
                    continue;
                }
                Some(Asked::Request(number, request)) => (number, request),
            };
            match request {
                Request::Info => tell(port, number, provision, id, bad_frames, desk).await?,
                Request::Reboot => {
                    say(port, number, &Reply::Done).await?;
                    desk.reboot().await;
                }
                Request::Erase => {
                    let done = provision.erase().await.map_err(|_| Refusal::Flash);
                    say(port, number, &answer(done)).await?;
                    if done.is_ok() {
                        // Totals and journal go at the next boot.
                        desk.reboot().await;
                    }
                }
                request => {
                    let done = change(provision, id, desk, request).await;
                    say(port, number, &answer(done)).await?;
                }
            }
        }
    }
}

fn answer(done: Result<(), Refusal>) -> Reply<'static> {
    match done {
        Ok(()) => Reply::Done,
        Err(refusal) => Reply::Refused(refusal),
    }
}

async fn change<F: NorFlash, D: Desk>(
    provision: &mut Provision<F>,
    id: Option<ModuleId>,
    desk: &mut D,
    request: Request<'_>,
) -> Result<(), Refusal> {
    match request {
        Request::SetIdentity { id, secret, replace } => {
            let identity = Identity { id, secret };
            let before = provision.identity().await.map_err(|_| Refusal::Flash)?;
            let another = |before: &Identity| before.id != identity.id || before.secret != identity.secret;
            if before.as_ref().is_some_and(another) && !replace {
                return Err(Refusal::Taken);
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
        Request::SetSettings(settings) => desk.take_settings(settings).await.then_some(()).ok_or(Refusal::Flash),
        Request::Info | Request::Reboot | Request::Erase => Ok(()),
    }
}

async fn tell<P: Read + Write, F: NorFlash, D: Desk>(
    port: &mut P,
    number: u32,
    provision: &mut Provision<F>,
    id: Option<ModuleId>,
    bad_frames: u32,
    desk: &D,
) -> Result<(), P::Error> {
    // As stored: what a restart will take up.
    let server = provision.server().await.ok().flatten();
    let mut info = desk.info();
    info.id = id;
    info.server = server.as_ref().map(ServerAddress::told);
    info.bad_frames = bad_frames;
    say(port, number, &Reply::Info(info)).await
}

async fn say<P: Write>(port: &mut P, number: u32, reply: &Reply<'_>) -> Result<(), P::Error> {
    // Every reply fits: the longest is an info with all texts at their longest (a test).
    let frame = frame(number, reply).unwrap_or(Frame::new());
    port.write_all(&frame).await?;
    port.flush().await
}
