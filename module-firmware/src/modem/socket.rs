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
use embassy_time::{Duration, Instant};
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
            if_answered(line.order(&sim800::Shut).await)?;
            line.order(&sim800::OneConnection).await?;
            line.order(&sim800::ReadByHand).await?;
            let access = sim800::SetAccess { apn: access.apn, user: access.user, password: access.password };
            line.order(&access).await?;
            line.order(&sim800::BringUp).await?;
            line.ask(&sim800::AskAddress).await?;
        }
        Stack::A7670 => {
            let context = a7670::DefineContext { context: CONTEXT, kind: "IP", apn: access.apn };
            line.order(&context).await?;
            if !access.user.is_empty() {
                let authentication = a7670::SetAuthentication {
                    context: CONTEXT,
                    method: 1,
                    password: access.password,
                    user: access.user,
                };
                line.order(&authentication).await?;
            }
            if line.ask(&a7670::AskNetwork).await?.open != 0 {
                line.news.network_stopped = false;
                if_answered(line.order(&a7670::CloseNetwork).await)?;
                later(line, NETWORK_MS, &|news| news.network_stopped).await?;
            }
            line.order(&a7670::ReadByHand).await?;
            line.news.network_opened = None;
            line.order(&a7670::OpenNetwork).await?;
            later(line, NETWORK_MS, &|news| news.network_opened.is_some()).await?;
            if line.news.network_opened != Some(true) {
                return Err(Error::Error);
            }
        }
        Stack::Quectel => {
            if_answered(line.order(&quectel::Close).await)?;
            if_answered(line.order(&quectel::Deactivate).await)?;
            let access = quectel::SetAccess {
                context: CONTEXT,
                kind: 1,
                apn: access.apn,
                user: access.user,
                password: access.password,
                authentication: u8::from(!access.user.is_empty()),
            };
            line.order(&access).await?;
            line.order(&quectel::Activate).await?;
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
        Stack::Sim800 => line.order(&sim800::Open { kind, host, port }).await?,
        Stack::A7670 => line.order(&a7670::Open { link: LINK, kind, host, port }).await?,
        Stack::Quectel => {
            let open =
                quectel::Open { context: CONTEXT, socket: LINK, kind, host, port, local_port: 0, access_mode: 0 };
            line.order(&open).await?
        }
    };
    let until = Instant::now() + Duration::from_millis(config.timeouts.open_ms.into());
    line.hear(until, false, &|news| news.opened.is_some() || gone(news)).await;
    if line.news.opened == Some(true) && !gone(&line.news) {
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
    count: usize,
) -> Result<(), Error> {
    let command = Send { name: family.send, length: u16::try_from(count).map_err(|_| Error::Write)? };
    match family.stack {
        Stack::Sim800 | Stack::Quectel => {
            line.order_with_data(&command, count).await?;
        }
        Stack::A7670 => {
            line.news.sent = None;
            line.order_with_data(&SendCounted(command), count).await?;
            later(line, SENT_MS, &|news| news.sent.is_some() || gone(news)).await?;
            if line.news.sent != Some(true) {
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
        Stack::Sim800 => if_answered(line.order(&sim800::Close).await)?,
        Stack::A7670 => {
            line.news.closed = false;
            if line.order(&a7670::Close).await.is_ok() {
                later(line, CLOSED_MS, &|news| news.closed).await?;
            }
        }
        Stack::Quectel => if_answered(line.order(&quectel::Close).await)?,
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

fn gone(news: &News) -> bool {
    news.closed || news.network_lost || news.restarted
}

async fn later<R: Read, W: Write>(
    line: &mut Line<'_, R, W>,
    longest_ms: u32,
    news: &dyn Fn(&News) -> bool,
) -> Result<(), Error> {
    let until = line.patience(longest_ms);
    if line.hear(until, false, news).await { Ok(()) } else { Err(Error::Timeout) }
}
