//! A sandbox for each test, with the keys that the first one made: making them takes longer than a test.

use sandbox::{Config, Sandbox};
use std::fs;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The files in which a sandbox keeps its keys. Journals are not among them.
const KEY_FILES: [&str; 2] = ["wechat-merchant-0.json", "alipay-app.json"];
/// Divides the providers' schedules: a refund takes 3 ms, a callback is sent again after 15 ms (WeChat Pay) or 240 ms
/// (Alipay).
const SPEED: f64 = 1000.0;

static KEYS: OnceCell<TempDir> = OnceCell::const_new();

/// A sandbox and its folder.
pub struct OwnSandbox {
    pub sandbox: Sandbox,
    _folder: TempDir,
}

pub async fn start() -> OwnSandbox {
    let keys = KEYS.get_or_init(make_keys).await;
    let folder = tempfile::tempdir().unwrap();
    for name in KEY_FILES {
        fs::copy(keys.path().join(name), folder.path().join(name)).unwrap();
    }
    let sandbox = start_in(&folder).await;
    OwnSandbox { sandbox, _folder: folder }
}

async fn make_keys() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    start_in(&folder).await.shutdown().await;
    folder
}

async fn start_in(folder: &TempDir) -> Sandbox {
    let listen = "127.0.0.1:0".parse().unwrap();
    let data_dir = Some(folder.path().to_owned());
    sandbox::start(Config { listen, public_host: None, data_dir, speed: SPEED, seed: 1 }).await.unwrap()
}
