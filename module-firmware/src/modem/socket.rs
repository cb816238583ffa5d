//! The TCP connection, as each family has it. One at a time.

use super::{
    Modem, RECEIVE_MAX_BYTES,
    command::{
        a7670, quectel, sim800,
        socket::{Receive, Received, Send, SendCounted},
    },
    family::{Family, Stack},
    line::{Line, News},
    settings::Config,
};
use atat::Error;
use embedded_io_async::{Read, Write};

/// The A7670's later part of an answer about the network comes within this, in milliseconds (15.2.1).
const NETWORK_MS: u32 = 120_000;
/// .. about what was sent.
const SENT_MS: u32 = 25_000;
/// .. about a closed connection.
const CLOSED_MS: u32 = 10_000;
/// The SIM800's context 1, and the A7670's.
const CONTEXT: u8 = 1;
const LINK: u8 = 0;

/// Attaches to the access point, from whatever state the modem is in.
pub(super) async fn attach<R: Read, W: Write>(
    line: &mut Line<'_, R, W>,
    family: &Family,
    config: &Config<'_>,
) -> Result<(), Error> {
    let access = config.access;
    line.news.network_lost = false;
    match family.stack {
        Stack::Sim800 => {
            if_answered(line.ask(&sim800::Shut).await)?;
            line.ask(&sim800::OneConnection).await?;
            line.ask(&sim800::ReadByHand).await?;
            let access = sim800::SetAccess { apn: access.apn, user: access.user, password: access.password };
            line.ask(&access).await?;
            line.ask(&sim800::BringUp).await?;
            line.ask(&sim800::AskAddress).await?;
        }
        Stack::A7670 => {
            let context = a7670::DefineContext { context: CONTEXT, kind: "IP", apn: access.apn };
            line.ask(&context).await?;
            if !access.user.is_empty() {
                let authentication = a7670::SetAuthentication {
                    context: CONTEXT,
                    method: 1,
                    password: access.password,
                    user: access.user,
                };
                line.ask(&authentication).await?;
            }
            if line.ask(&a7670::AskNetwork).await?.open != 0 {
                line.news.network_stopped = false;
                if_answered(line.ask(&a7670::CloseNetwork).await)?;
                later(line, NETWORK_MS, |news| news.network_stopped.then_some(())).await?;
            }
            line.ask(&a7670::ReadByHand).await?;
            line.news.network_opened = None;
            line.ask(&a7670::OpenNetwork).await?;
            if !later(line, NETWORK_MS, |news| news.network_opened).await? {
                return Err(Error::Error);
            }
        }
        Stack::Quectel => {
            if_answered(line.ask(&quectel::Close).await)?;
            if_answered(line.ask(&quectel::Deactivate).await)?;
            let access = quectel::SetAccess {
                context: CONTEXT,
                kind: 1,
                apn: access.apn,
                user: access.user,
                password: access.password,
                authentication: u8::from(!access.user.is_empty()),
            };
            line.ask(&access).await?;
            line.ask(&quectel::Activate).await?;
        }
    }
    // Giving up what was there before is no loss.
    line.news.network_lost = false;
    Ok(())
}

/// Connects to the server.
pub(super) async fn open<R: Read, W: Write>(
    line: &mut Line<'_, R, W>,
    family: &Family,
    config: &Config<'_>,
) -> Result<(), Error> {
    line.news = News { restarted: line.news.restarted, network_lost: line.news.network_lost, ..News::default() };
    let (kind, host, port) = ("TCP", config.host, config.port);
    match family.stack {
        Stack::Sim800 => line.ask(&sim800::Open { kind, host, port }).await?,
        Stack::A7670 => line.ask(&a7670::Open { link: LINK, kind, host, port }).await?,
        Stack::Quectel => {
            let open =
                quectel::Open { context: CONTEXT, socket: LINK, kind, host, port, local_port: 0, access_mode: 0 };
            line.ask(&open).await?
        }
    };
    let gone = |news: &News| (news.closed || news.network_lost || news.restarted).then_some(false);
    let opened = line
        .hear(embassy_time::Timer::after_millis(config.timeouts.open_ms.into()), |news| news.opened.or(gone(news)))
        .await;
    if opened == Some(true) {
        return Ok(());
    }
    // It may still come: it is not wanted then.
    let _ = close(line, family).await;
    Err(Error::Error)
}

/// Sends so many bytes of those that were written.
pub(super) async fn send<R: Read, W: Write>(
    line: &mut Line<'_, R, W>,
    family: &Family,
    modem: &Modem,
    count: usize,
) -> Result<(), Error> {
    let command = Send { name: family.send, length: u16::try_from(count).map_err(|_| Error::Write)? };
    match family.stack {
        Stack::Sim800 | Stack::Quectel => {
            line.ask_with_data(&command, &modem.tx, count).await?;
        }
        Stack::A7670 => {
            line.news.sent = None;
            line.ask_with_data(&SendCounted(command), &modem.tx, count).await?;
            let gone = |news: &News| (news.closed || news.network_lost || news.restarted).then_some(false);
            if !later(line, SENT_MS, |news| news.sent.or(gone(news))).await? {
                return Err(Error::Error);
            }
        }
    }
    Ok(())
}

/// Reads what there is room for.
pub(super) async fn receive<R: Read, W: Write>(
    line: &mut Line<'_, R, W>,
    family: &'static Family,
    modem: &Modem,
) -> Result<Received, Error> {
    let room = modem.rx.free_capacity().min(RECEIVE_MAX_BYTES);
    let command = Receive {
        name: family.receive,
        header: &family.data_header,
        length: u16::try_from(room).unwrap_or(u16::MAX),
        into: &modem.rx,
    };
    match line.ask(&command).await {
        Err(Error::Error | Error::CmeError(_)) if line.news.no_data => Ok(Received { count: 0, left: Some(0) }),
        answer => answer,
    }
}

/// Closes the connection, if there is one.
pub(super) async fn close<R: Read, W: Write>(line: &mut Line<'_, R, W>, family: &Family) -> Result<(), Error> {
    match family.stack {
        Stack::Sim800 => if_answered(line.ask(&sim800::Close).await)?,
        Stack::A7670 => {
            line.news.closed = false;
            if line.ask(&a7670::Close).await.is_ok() {
                later(line, CLOSED_MS, |news| news.closed.then_some(())).await?;
            }
        }
        Stack::Quectel => if_answered(line.ask(&quectel::Close).await)?,
    }
    Ok(())
}

/// An error is an answer too: what was to be given up was not there.
fn if_answered<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Err(error @ (Error::Timeout | Error::Write)) => Err(error),
        _ => Ok(()),
    }
}

async fn later<R: Read, W: Write, T>(
    line: &mut Line<'_, R, W>,
    longest_ms: u32,
    news: impl Fn(&News) -> Option<T>,
) -> Result<T, Error> {
    let patience = line.patience(longest_ms);
    line.hear(patience, news).await.ok_or(Error::Timeout)
}
