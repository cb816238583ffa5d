//! The loads for the brokers, one after the other.

use super::{
    client::{Client, Heard, Version},
    server::{MODULE, Server},
};
use crate::stopwatch::Durations;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Messages of one publisher not yet acknowledged.
const PUBLISHER_WINDOW: usize = 32;
/// Messages of all publishers not yet received by the subscriber: within any broker's queue.
const UNDER_WAY: u64 = 4_000;
/// Clients that connect at the same time.
const CONNECTING: usize = 32;
/// How often a module of the fleet publishes.
const PERIOD: Duration = Duration::from_secs(10);
/// Bytes of a status, about.
const STATUS_BYTES: usize = 128;
/// A command's share of the load.
const COMMANDS_PER_S: u32 = 100;
const RUN_UP: Duration = Duration::from_millis(500);

fn nanos_since(epoch: Instant) -> [u8; 8] {
    (epoch.elapsed().as_nanos() as u64).to_be_bytes()
}

fn age(epoch: Instant, payload: &[u8]) -> Result<Duration> {
    let sent = payload.first_chunk().context("a payload without its time")?;
    Ok(epoch.elapsed().saturating_sub(Duration::from_nanos(u64::from_be_bytes(*sent))))
}

/// Messages per second from publishers to one subscriber, both at QoS 1, all acknowledged.
pub async fn throughput(
    at: SocketAddr,
    version: Version,
    publishers: usize,
    payload_bytes: usize,
    part: Duration,
) -> Result<f64> {
    let mut subscriber = Client::connect(at, Ipv4Addr::LOCALHOST, version, "subscriber").await?;
    subscriber.subscribe("t/#", true).await?;
    let (published, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for number in 0..publishers {
        let client = Client::connect(at, Ipv4Addr::LOCALHOST, version, &format!("publisher{number}")).await?;
        let (published, received, over) = (published.clone(), received.clone(), over.clone());
        tasks.spawn(async move { flood(client, number, payload_bytes, &published, &received, &over).await });
    }
    let hearing = {
        let received = received.clone();
        tokio::spawn(async move {
            while let Ok(heard) = subscriber.hear().await {
                if let Heard::Publish { .. } = heard {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    tokio::time::sleep(RUN_UP).await;
    let (before, begun) = (received.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(part).await;
    let per_s = (received.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    ensure!(!hearing.is_finished(), "the subscriber was cut");
    over.store(true, Ordering::Relaxed);
    while let Some(publisher) = tasks.join_next().await {
        publisher??;
    }
    hearing.abort();
    Ok(per_s)
}

async fn flood(
    mut client: Client,
    number: usize,
    payload_bytes: usize,
    published: &AtomicU64,
    received: &AtomicU64,
    over: &AtomicBool,
) -> Result<()> {
    let (topic, payload) = (format!("t/{number}"), Bytes::from(vec![b'x'; payload_bytes]));
    let mut in_flight = 0;
    while !over.load(Ordering::Relaxed) {
        while in_flight < PUBLISHER_WINDOW
            && published.load(Ordering::Relaxed) < received.load(Ordering::Relaxed) + UNDER_WAY
        {
            client.publish(&topic, payload.clone())?;
            published.fetch_add(1, Ordering::Relaxed);
            in_flight += 1;
        }
        client.flush().await?;
        if in_flight == 0 {
            tokio::task::yield_now().await;
        } else if let Heard::PubAck = client.hear().await? {
            in_flight -= 1;
        }
    }
    Ok(())
}

/// Times from a publish to its arrival at a subscriber, at a rate that leaves the broker idle in between.
pub async fn round_trips(at: SocketAddr, version: Version, rate: u32, part: Duration) -> Result<Durations> {
    let epoch = Instant::now();
    let mut subscriber = Client::connect(at, Ipv4Addr::LOCALHOST, version, "listener").await?;
    subscriber.subscribe("rt/x", true).await?;
    let mut publisher = Client::connect(at, Ipv4Addr::LOCALHOST, version, "talker").await?;
    let wanted = u64::from(rate) * part.as_secs();
    let hearing = tokio::spawn(async move {
        let mut durations = Durations::default();
        while (durations.count() as u64) < wanted {
            if let Heard::Publish { payload } = subscriber.hear().await? {
                durations.add(age(epoch, &payload)?);
            }
        }
        anyhow::Ok(durations)
    });
    let pause = Duration::from_secs(1) / rate;
    let begun = Instant::now();
    for number in 0..wanted {
        tokio::time::sleep_until((begun + pause * u32::try_from(number)?).into()).await;
        publisher.publish("rt/x", nanos_since(epoch).to_vec())?;
        publisher.flush().await?;
        while !matches!(publisher.hear().await?, Heard::PubAck) {}
    }
    tokio::time::timeout(part, hearing).await.context("messages did not arrive")??
}

/// A fleet of modules that are connected and subscribed to their commands.
#[derive(Default)]
pub struct Fleet(Vec<Client>);

impl Fleet {
    /// Connects more modules until there are the given number; returns how many connected per second.
    pub async fn grow(&mut self, at: SocketAddr, to: usize) -> Result<f64> {
        let begun = Instant::now();
        let (from, before) = (self.0.len(), self.0.len());
        let next = Arc::new(AtomicU64::new(from as u64));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTING {
            let next = next.clone();
            tasks.spawn(async move {
                let mut clients = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to as u64 {
                        return anyhow::Ok(clients);
                    }
                    let name = format!("{MODULE}{number:05}");
                    // Two addresses: the ports of one would nearly be used up.
                    let source = Ipv4Addr::new(127, 0, 0, 1 + (number % 2) as u8);
                    let mut client = Client::connect(at, source, Version::V5, &name).await?;
                    client.subscribe(&format!("m/{name}/command"), true).await?;
                    clients.push((number, client));
                }
            });
        }
        let mut grown = Vec::new();
        while let Some(clients) = tasks.join_next().await {
            grown.extend(clients??);
        }
        grown.sort_by_key(|(number, _)| *number);
        self.0.extend(grown.into_iter().map(|(_, client)| client));
        Ok((to - before) as f64 / begun.elapsed().as_secs_f64())
    }

    /// Memory of the broker for each module, in bytes.
    pub async fn cost_bytes(&self, server: &Server, empty_bytes: u64) -> Result<u64> {
        // Memory that was only needed to connect is freed soon, if at all.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(server.resident_bytes()?.saturating_sub(empty_bytes) / self.0.len() as u64)
    }

    /// Each module publishes a status every [`PERIOD`], while commands go to modules. Gives the times from publish to
    /// acknowledgement, and from a command's publish to its arrival.
    pub async fn live(self, at: SocketAddr, part: Duration) -> Result<(Durations, Durations)> {
        let epoch = Instant::now();
        let modules = self.0.len();
        let mut backend = Client::connect(at, Ipv4Addr::LOCALHOST, Version::V5, "backend-hears").await?;
        backend.subscribe("m/+/status", true).await?;
        let hearing = tokio::spawn(async move { while backend.hear().await.is_ok() {} });
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (number, client) in self.0.into_iter().enumerate() {
            let over = over.clone();
            let first = PERIOD.mul_f64(number as f64 / modules as f64);
            tasks.spawn(async move { one_module(client, number, epoch, first, part, &over).await });
        }
        let mut commander = Client::connect(at, Ipv4Addr::LOCALHOST, Version::V5, "backend-speaks").await?;
        let begun = Instant::now();
        for number in 0.. {
            let due = begun + Duration::from_secs(1) / COMMANDS_PER_S * number;
            if due - begun > part {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            // Far apart in the fleet, and each now and then.
            let module = number as usize * 7_919 % modules;
            commander.publish(&format!("m/{MODULE}{module:05}/command"), nanos_since(epoch).to_vec())?;
            commander.flush().await?;
            while !matches!(commander.hear().await?, Heard::PubAck) {}
        }
        over.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut commanded) = (Durations::default(), Durations::default());
        while let Some(module) = tasks.join_next().await {
            let (acks, commands) = module??;
            acknowledged.extend(acks);
            commanded.extend(commands);
        }
        ensure!(!hearing.is_finished(), "the subscriber was cut");
        hearing.abort();
        Ok((acknowledged, commanded))
    }
}

async fn one_module(
    mut client: Client,
    number: usize,
    epoch: Instant,
    first: Duration,
    part: Duration,
    over: &AtomicBool,
) -> Result<(Durations, Durations)> {
    let topic = format!("m/{MODULE}{number:05}/status");
    let (mut acknowledged, mut commanded) = (Durations::default(), Durations::default());
    let mut due = epoch + first;
    let mut said = Instant::now();
    // Until the last command can be there: the commander says when it is over.
    while due < epoch + part || !over.load(Ordering::Relaxed) {
        tokio::select! {
            heard = client.hear() => match heard? {
                Heard::PubAck => acknowledged.add(said.elapsed()),
                Heard::Publish { payload } => commanded.add(age(epoch, &payload)?),
                Heard::Other => {}
            },
            () = tokio::time::sleep_until(due.into()) => {
                said = Instant::now();
                client.publish(&topic, vec![b'x'; STATUS_BYTES])?;
                client.flush().await?;
                due += PERIOD;
            }
        }
    }
    Ok((acknowledged, commanded))
}
