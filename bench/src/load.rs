//! The load: open at a rate for latency, closed with every machine busy for throughput.

use crate::{
    server::{ServerUnderTest, Slot, system},
    stopwatch::Durations,
};
use anyhow::{Context, Result};
use backend::{
    flows::{place_order, scan_machine},
    ids::MachineId,
    live::{LiveEvent, LiveKind},
    payments::method::PayerApp,
    sales::{SaleState, readiness::Readiness, views},
};
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions, mqttbytes::QoS};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    task::{JoinHandle, JoinSet},
};

/// Machines that sell without a pause.
const BUSY_MACHINES: usize = 60;
/// How long after a failed order it is tried again.
const COMES_BACK_AFTER: Duration = Duration::from_millis(100);
/// A sale that is not credited after this long has failed the benchmark.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// What a part measured.
#[derive(Default)]
pub struct Figures {
    /// From the callback's arrival at the web to the command's arrival at a client's socket.
    pub command: Durations,
    /// From the callback's arrival to the sale credited in the store, the machine's own pulse included.
    pub credited: Durations,
    failed: usize,
    took: Duration,
}

impl Figures {
    /// Credited sales per second.
    pub fn per_s(&self) -> f64 {
        self.credited.count() as f64 / self.took.as_secs_f64()
    }

    /// Prints them.
    pub fn print(&self) {
        println!("  {} sales credited, {:.0}/s, {} failed", self.credited.count(), self.per_s(), self.failed);
        for (what, durations) in [("callback to command ", &self.command), ("callback to credited", &self.credited)] {
            println!(
                "  {what}   p50 {:>7.2} ms   p99 {:>7.2} ms   ({} measured)",
                durations.percentile_ms(50.0),
                durations.percentile_ms(99.0),
                durations.count()
            );
        }
    }
}

type Waiting = Arc<Mutex<HashMap<MachineId, (Option<Instant>, oneshot::Sender<(Instant, Instant)>)>>>;

struct Measuring {
    figures: Arc<Mutex<Figures>>,
    /// By machine: when the callback behind its sale came in, and who waits for the credit.
    waiting: Waiting,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Measuring {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Offers `rate` sales a second for `part`.
pub async fn open(server: &Arc<ServerUnderTest>, rate: u32, part: Duration) -> Result<Figures> {
    let measuring = Arc::new(measure(server).await?);
    let begun = Instant::now();
    let pause = Duration::from_secs(1) / rate;
    let mut sales = JoinSet::new();
    for number in 0.. {
        if begun.elapsed() >= part {
            break;
        }
        tokio::time::sleep_until((begun + pause * number).into()).await;
        let (server, measuring) = (server.clone(), measuring.clone());
        let slot = usize::try_from(number)? % server.slots.len();
        sales.spawn(async move { one_sale(&server, &server.slots[slot], &measuring).await });
        while sales.try_join_next().is_some() {}
    }
    let took = begun.elapsed();
    while sales.join_next().await.is_some() {}
    finish(&measuring, took)
}

/// Keeps machines busy for `part`: as many as an account has orders with its provider at once. More would only be refused.
pub async fn closed(server: &Arc<ServerUnderTest>, part: Duration) -> Result<Figures> {
    let measuring = Arc::new(measure(server).await?);
    let begun = Instant::now();
    let mut machines = JoinSet::new();
    for number in 0..server.slots.len().min(BUSY_MACHINES) {
        let (server, measuring) = (server.clone(), measuring.clone());
        machines.spawn(async move {
            while begun.elapsed() < part {
                one_sale(&server, &server.slots[number], &measuring).await;
            }
        });
    }
    while machines.join_next().await.is_some() {}
    finish(&measuring, begun.elapsed())
}

fn finish(measuring: &Measuring, took: Duration) -> Result<Figures> {
    let mut figures = std::mem::take(&mut *locked(&measuring.figures));
    figures.took = took;
    anyhow::ensure!(figures.credited.count() > 0, "no sale was credited");
    Ok(figures)
}

/// From the order to the credit; failures are counted.
async fn one_sale(server: &ServerUnderTest, slot: &Slot, measuring: &Measuring) {
    if let Err(error) = try_sale(server, slot, measuring).await {
        count_failure(measuring, &error);
        tokio::time::sleep(COMES_BACK_AFTER).await;
    }
}

fn count_failure(measuring: &Measuring, error: &anyhow::Error) {
    let mut figures = locked(&measuring.figures);
    if figures.failed == 0 {
        eprintln!("first failure: {error:#}");
    }
    figures.failed += 1;
}

async fn try_sale(server: &ServerUnderTest, slot: &Slot, measuring: &Measuring) -> Result<()> {
    let (sender, credited) = oneshot::channel();
    locked(&measuring.waiting).insert(slot.machine_id, (None, sender));
    let readiness = scan_machine::scan(&server.backend, &slot.code, PayerApp::Browser).await?.readiness;
    anyhow::ensure!(readiness == Readiness::Ready, "the machine is {}", readiness.as_str());
    let checkout = place_order::order(&server.backend, slot.form(None)).await?;
    let row = views::operator_sale(&server.backend, &system(), &checkout.token).await?;
    server.sandbox.approve(&row.out_trade_no.context("an attempt")?)?;
    let (arrived, at) = tokio::time::timeout(WAIT_TIMEOUT, credited).await.context("not credited in time")??;
    locked(&measuring.figures).credited.add(at - arrived);
    Ok(())
}

async fn measure(server: &Arc<ServerUnderTest>) -> Result<Measuring> {
    let figures = Arc::new(Mutex::new(Figures::default()));
    let waiting = Waiting::default();
    let on_the_wire = watch_the_wire(server, figures.clone(), waiting.clone()).await?;
    let credits = tokio::spawn(watch_credits(server.backend.watch(), waiting.clone()));
    Ok(Measuring { figures, waiting, tasks: vec![on_the_wire, credits] })
}

/// Reads commands as a client of the gate does, and notes when those that follow from a callback arrive.
async fn watch_the_wire(
    server: &Arc<ServerUnderTest>,
    figures: Arc<Mutex<Figures>>,
    waiting: Waiting,
) -> Result<JoinHandle<()>> {
    let mut options = MqttOptions::new("stopwatch", server.mqtt.ip().to_string(), server.mqtt.port());
    options.set_credentials("stopwatch", "bench").set_keep_alive(Duration::from_secs(30));
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut event_loop) = AsyncClient::new(options, 16);
    client.subscribe("m/+/command", QoS::AtMostOnce).await?;
    loop {
        if let Event::Incoming(Incoming::SubAck(_)) = event_loop.poll().await? {
            break;
        }
    }
    let server = server.clone();
    Ok(tokio::spawn(async move {
        // The client lives as long as the loop is polled.
        let _client = client;
        while let Ok(event) = event_loop.poll().await {
            let Event::Incoming(Incoming::Publish(publish)) = event else { continue };
            let now = Instant::now();
            let Ok(topic) = std::str::from_utf8(&publish.topic) else { continue };
            let Some(arrived) = server.callbacks.take(topic) else { continue };
            locked(&figures).command.add(now - arrived);
            let machine = topic.split('/').nth(1).and_then(|module| server.machine_of(module));
            if let Some(machine) = machine
                && let Some((callback, _)) = locked(&waiting).get_mut(&machine)
            {
                *callback = Some(arrived);
            }
        }
    }))
}

/// Wakes the task that waits for a credit. The event comes after the commit.
async fn watch_credits(mut events: tokio::sync::broadcast::Receiver<LiveEvent>, waiting: Waiting) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let (LiveKind::Sale { state: SaleState::Credited, .. }, Some(machine)) = (event.what, event.machine_id) else {
            continue;
        };
        let now = Instant::now();
        if let Some((Some(arrived), sender)) = locked(&waiting).remove(&machine) {
            let _ = sender.send((arrived, now));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
