//! Callbacks: how many a second are proven, committed and answered over HTTP, of each provider, beside the proof alone and
//! beside durable commits alone.
//!
//! All are made first: orders are placed and paid at the sandbox, and what the sandbox tells is held at the door. Then the
//! modules are switched off, so that nothing else is going on, and what was held comes in at once.

use crate::{
    disk,
    server::{ServerOptions, ServerUnderTest, Slot, system},
};
use anyhow::{Context, Result, ensure};
use backend::{
    clock::{Clock, SystemClock, SystemRandom},
    flows::place_order,
    ids::SaleToken,
    payments::{Providers, RealProviders, provider::RawCallback},
    sales::{SaleState, views},
};
use bytes::Bytes;
use poem::{Request, Response, http::HeaderMap};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How the benchmark of the callbacks runs.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// Orders of each machine with each provider: as many as a module has room for.
    #[arg(long, default_value_t = 2)]
    orders: usize,
    /// Callbacks on their way at once.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Where the temporary directory is made: the disk whose limit counts.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A way to pay of each provider that needs no app.
const WAYS: [(&str, &str); 2] = [("wechat", "wechat.h5"), ("alipay", ALIPAY_WAY)];
const ALIPAY_WAY: &str = "alipay.wap";
/// Orders that are made at once: an account has no more than 64 with its provider.
const ORDERS_AT_ONCE: usize = 32;
/// All that was paid has been told after this long, or the benchmark has failed.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// How long the proof alone is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// Keeps callbacks from coming in.
#[derive(Default)]
pub struct Door {
    is_shut: AtomicBool,
    held: Mutex<Vec<Held>>,
}

/// A callback as it came.
#[derive(Clone)]
struct Held {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Door {
    /// Takes a callback while the door is shut, in place of the server: the sandbox is told that it was taken.
    pub async fn hold(&self, request: Request) -> poem::Result<Response> {
        let (parts, body) = request.into_parts();
        let body = body.into_bytes().await?;
        self.held().push(Held { path: parts.uri.path().to_owned(), headers: parts.headers, body });
        Ok(Response::builder().body("success"))
    }

    /// Whether a request is held.
    pub fn holds(&self, request: &Request) -> bool {
        self.is_shut.load(Ordering::Relaxed) && request.uri().path().starts_with("/callbacks/")
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    let dir = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let limits = disk::limits(dir.path()).await?;
    let mut server = ServerUnderTest::start(&options.server, dir.path()).await?;
    server.add_alipay().await?;
    let server = Arc::new({
        server.door.is_shut.store(true, Ordering::Relaxed);
        server
    });
    let mut told = vec![];
    for (provider, way) in WAYS {
        let tokens = place_and_pay(&server, way, options.orders).await?;
        let begun = Instant::now();
        while server.door.held().len() < tokens.len() {
            ensure!(begun.elapsed() < TOLD_WITHIN, "{provider} told of {} payments", server.door.held().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        told.push((provider, tokens, std::mem::take(&mut *server.door.held())));
    }
    server.door.is_shut.store(false, Ordering::Relaxed);
    server.switch_modules_off().await;

    println!("\nthe disk by itself: {:.0} durable one-row commits a second", limits.commits_per_s);
    for (provider, tokens, held) in told {
        let proofs_per_s = proofs_per_s(&server, provider, &held)?;
        let count = held.len();
        let begun = Instant::now();
        deliver(&server, held, options.at_once).await?;
        let per_s = count as f64 / begun.elapsed().as_secs_f64();
        for token in &tokens {
            let sale = views::operator_sale(&server.backend, &system(), token).await?;
            ensure!(
                ![SaleState::AwaitingPayment, SaleState::Expired].contains(&sale.view.state),
                "{provider}: a payment was answered for and is not stored"
            );
        }
        println!("\n{provider}: {count} callbacks, {} at once", options.at_once);
        println!("  proven, committed and answered   {per_s:>8.0}/s");
        println!("  proven only, one core times all  {proofs_per_s:>8.0}/s   ratio {:.3}", per_s / proofs_per_s);
        println!("  to durable commits                              ratio {:.3}", per_s / limits.commits_per_s);
    }
    if let Some(server) = Arc::into_inner(server) {
        server.shutdown().await;
    }
    Ok(())
}

/// Orders at every machine, and pays all of it. Gives the sales.
async fn place_and_pay(server: &Arc<ServerUnderTest>, way: &'static str, each: usize) -> Result<Vec<SaleToken>> {
    let places = Arc::new(tokio::sync::Semaphore::new(ORDERS_AT_ONCE));
    let mut orders = JoinSet::new();
    for number in 0..server.slots.len() * each {
        let (server, places) = (server.clone(), places.clone());
        orders.spawn(async move {
            let _place = places.acquire().await?;
            let slot = &server.slots[number % server.slots.len()];
            order(&server, slot, way).await
        });
    }
    let tokens = orders.join_all().await;
    tokens.into_iter().collect()
}

async fn order(server: &ServerUnderTest, slot: &Slot, way: &str) -> Result<SaleToken> {
    let checkout = place_order::order(&server.backend, slot.form(Some(way))).await?;
    let row = views::operator_sale(&server.backend, &system(), &checkout.token).await?;
    let number = row.out_trade_no.context("an attempt")?;
    if way == ALIPAY_WAY {
        // There is a trade from when the payer's browser opens it.
        reqwest::get(&checkout.next).await?.error_for_status()?;
        server.sandbox.approve_alipay(&number)?;
    } else {
        server.sandbox.approve(&number)?;
    }
    Ok(checkout.token)
}

/// What one core proves a second, doing nothing else, times the cores: signature, decryption and reading.
fn proofs_per_s(server: &ServerUnderTest, provider: &str, held: &[Held]) -> Result<f64> {
    let config = server.configs.get(provider).context("an account")?;
    let opened = RealProviders::new(Arc::new(SystemClock), Arc::new(SystemRandom))?.open(provider, config)?;
    let now_ms = SystemClock.wall_ms();
    let begun = Instant::now();
    let mut count = 0;
    for one in held.iter().cycle() {
        if begun.elapsed() >= MEASURED {
            break;
        }
        let headers = texts(&one.headers);
        opened.verify_callback(RawCallback { headers: &headers, body: &one.body }, now_ms)?;
        count += 1;
    }
    let cores = std::thread::available_parallelism()?.get();
    Ok(f64::from(count) / begun.elapsed().as_secs_f64() * cores as f64)
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str().into(), value.to_str().ok()?.into()))).collect()
}

/// Sends what was held, and waits until each was answered as taken.
async fn deliver(server: &Arc<ServerUnderTest>, held: Vec<Held>, at_once: usize) -> Result<()> {
    let http = reqwest::Client::new();
    let waiting = Arc::new(Mutex::new(held));
    let mut senders = JoinSet::new();
    for _ in 0..at_once {
        let (http, waiting, http_url) = (http.clone(), waiting.clone(), server.http.clone());
        senders.spawn(async move {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(one) = next else { return anyhow::Ok(()) };
                let url = format!("{http_url}{}", one.path);
                let answer = http.post(url).headers(one.headers).body(one.body).send().await?;
                ensure!(answer.status().is_success(), "a callback was answered {}", answer.status());
            }
        });
    }
    senders.join_all().await.into_iter().collect()
}
