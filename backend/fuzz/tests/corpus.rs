//! Everything in the corpora is taken, in the ordinary tests too: what the fuzzer found once stays mended.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

fn take_all(target: &str, take: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        take(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 5, "{count} inputs in {}", folder.display());
}

#[test]
fn wechat() {
    take_all("wechat_callback", callback_fuzz::wechat::take);
}

#[test]
fn alipay() {
    take_all("alipay_callback", callback_fuzz::alipay::take);
}
