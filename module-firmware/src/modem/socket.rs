//! The TCP connection, as each family has it. One at a time.

use super::{
    Modem, RECEIVE_MAX_BYTES,
    command::{
        Answer,
        Value::{self, Number, Text},
        a7670, quectel, sim800,
        socket::{self, Receive, Received},
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
const CONTEXT: Value<'_> = Number(1);
const LINK: Value<'_> = Number(0);

/// Attaches to the access point, from whatever state the modem is in.
pub(super) async fn attach<R: Read, W: Write>(
    line: &mut Line<'_, R, W>,
    family: &Family,
    config: &Config<'_>,
) -> Result<(), Error> {
    let (apn, user, password) = (Text(config.access.apn), Text(config.access.user), Text(config.access.password));
    let authenticates = !config.access.user.is_empty();
    line.news.network_lost = false;
    match family.stack {
        Stack::Sim800 => {
            if_answered(line.ask(&sim800::SHUT).await)?;
            let access = [apn, user, password];
            let set_access = sim800::SET_ACCESS.with(&access);
            let order =
                [&sim800::ONE_CONNECTION, &sim800::READ_BY_HAND, &set_access, &sim800::BRING_UP, &sim800::ASK_ADDRESS];
            for command in order {
                line.ask(command).await?;
            }
        }
        Stack::A7670 => {
            let (context, authentication) = ([CONTEXT, Text("IP"), apn], [CONTEXT, Number(1), password, user]);
            let define = a7670::DEFINE_CONTEXT.with(&context);
            let authenticate = a7670::SET_AUTHENTICATION.with(&authentication);
            let orders = [&define, &authenticate];
            for command in orders.into_iter().take(1 + usize::from(authenticates)) {
                line.ask(command).await?;
            }
            if matches!(line.ask(&a7670::ASK_NETWORK).await?, Answer::Network(true)) {
                line.news.network_stopped = false;
                if_answered(line.ask(&a7670::CLOSE_NETWORK).await)?;
                later(line, NETWORK_MS, &|news| news.network_stopped).await?;
            }
            line.ask(&a7670::READ_BY_HAND).await?;
            line.news.network_opened = None;
            line.ask(&a7670::OPEN_NETWORK).await?;
            later(line, NETWORK_MS, &|news| news.network_opened.is_some()).await?;
            if line.news.network_opened != Some(true) {
                return Err(Error::Error);
            }
        }
        Stack::Quectel => {
            if_answered(line.ask(&quectel::CLOSE).await)?;
            if_answered(line.ask(&quectel::DEACTIVATE).await)?;
            let access = [CONTEXT, Number(1), apn, user, password, Number(authenticates.into())];
            line.ask(&quectel::SET_ACCESS.with(&access)).await?;
            line.ask(&quectel::ACTIVATE).await?;
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
    let (kind, host, port) = (Text("TCP"), Text(config.host), Number(config.port));
    let values = [CONTEXT, LINK, kind, host, port, Number(0), Number(0)];
    // Each takes a part of the same row.
    let (open, from, to) = match family.stack {
        Stack::Sim800 => (&sim800::OPEN, 2, 5),
        Stack::A7670 => (&a7670::OPEN, 1, 5),
        Stack::Quectel => (&quectel::OPEN, 0, 7),
    };
    line.ask(&open.with(values.get(from..to).unwrap_or_default())).await?;
    let until = Instant::now() + Duration::from_millis(config.timeouts.open_ms.into());
    line.listen(until, false, &|news| news.opened.is_some() || gone(news)).await;
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
    let length = [Number(u16::try_from(count).map_err(|_| Error::Write)?)];
    let counted = family.stack == Stack::A7670;
    let command = if counted { socket::send_counted(family.send, &length) } else { socket::send(family.send, &length) };
    line.news.sent = None;
    line.ask_with_data(&command, count).await?;
    if counted {
        later(line, SENT_MS, &|news| news.sent.is_some() || gone(news)).await?;
        if line.news.sent != Some(true) {
            return Err(Error::Error);
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
    let length = u16::try_from(room).unwrap_or(u16::MAX);
    let receive = Receive { header: &family.data_header, length, into: &modem.rx };
    match line.ask(&socket::receive(family.receive, &[Number(length)], receive)).await {
        Err(Error::Error | Error::CmeError(_)) if line.news.no_data => Ok(Received { count: 0, left: Some(0) }),
        Ok(Answer::Received(received)) => Ok(received),
        Ok(_) => Err(Error::Parse),
        Err(error) => Err(error),
    }
}

/// Closes the connection, if there is one.
pub(super) async fn close<R: Read, W: Write>(line: &mut Line<'_, R, W>, family: &Family) -> Result<(), Error> {
    match family.stack {
        Stack::Sim800 => if_answered(line.ask(&sim800::CLOSE).await)?,
        Stack::A7670 => {
            line.news.closed = false;
            if line.ask(&a7670::CLOSE).await.is_ok() {
                later(line, CLOSED_MS, &|news| news.closed).await?;
            }
        }
        Stack::Quectel => if_answered(line.ask(&quectel::CLOSE).await)?,
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
    if line.listen(until, false, news).await { Ok(()) } else { Err(Error::Timeout) }
}
