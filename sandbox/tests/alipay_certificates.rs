//! An app in certificate mode: what calls must name, and what answers and notices name.
#![allow(clippy::unwrap_used)]

mod support;

use sandbox::crypto::Verifier;
use sandbox::{AlipayCertificates, Fault, FaultFrequency};
use serde_json::json;
use support::alipay::{Answer, Desk, NOTIFY, Shop};
use support::config;

const QUERY: &str = "alipay.trade.query";

/// Asks, naming these certificates.
async fn ask(shop: &Shop, app: &str, root: &str) -> Answer {
    let mut parameters = shop.parameters(QUERY, &json!({"out_trade_no": "cert1"}));
    parameters.insert("app_cert_sn".into(), app.into());
    parameters.insert("alipay_root_cert_sn".into(), root.into());
    shop.sign(&mut parameters);
    shop.send(&parameters).await
}

/// The numbers that the sandbox wants, found out by what the files hold.
fn numbers(files: &AlipayCertificates) -> (String, String) {
    let app = number(&files.app_cert_pem);
    let blocks = files.alipay_root_cert_pem.split_inclusive("-----END CERTIFICATE-----\n");
    let roots: Vec<&str> = blocks.collect();
    assert_eq!(roots.len(), 4, "two that count, one of another algorithm, and one that cannot be read");
    (app, format!("{}_{}", number(roots[1]), number(roots[3])))
}

/// By another reader of certificates than the sandbox's.
fn number(pem: &str) -> String {
    use md5::Digest as _;
    let first = pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    let der = support::pem(first);
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let parts = certificate.issuer().iter_rdn().map(|part| {
        let part = part.iter().next().unwrap();
        let word = match part.attr_type().to_id_string().as_str() {
            "2.5.4.3" => "CN",
            "2.5.4.6" => "C",
            "2.5.4.10" => "O",
            "2.5.4.11" => "OU",
            other => panic!("{other}"),
        };
        format!("{word}={}", part.as_str().unwrap().replace(',', "\\,"))
    });
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    let text = format!("{}{}", parts.join(","), certificate.tbs_certificate.serial);
    hex::encode(md5::Md5::digest(text))
}

#[tokio::test]
async fn calls_name_the_apps_certificate_and_the_roots() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    // With public keys there is none to name.
    ask(&shop, "", "").await.refused("40004", "ACQ.TRADE_NOT_EXIST");
    ask(&shop, "866efef280dec9137a87d047ac446315", "").await.refused("40002", "isv.app-cert-not-exist");
    let files = sandbox.enter_alipay_certificate_mode().unwrap();
    let (app, root) = numbers(&files);
    for (named_app, named_root, sub_code) in [
        ("", root.as_str(), "isv.missing-app-cert-sn"),
        (&app, "", "isv.missing-alipay-root-cert-sn"),
        (&root, &root, "isv.app-cert-not-exist"),
        (&app, &app, "isv.invalid-alipay-root-cert-sn"),
        // Of one root, or in another order.
        (&app, root.split('_').next().unwrap(), "isv.invalid-alipay-root-cert-sn"),
    ] {
        let answer = ask(&shop, named_app, named_root).await;
        answer.refused("40002", sub_code);
        assert!(answer.is_signed, "{sub_code}");
    }
    ask(&shop, &app, &root).await.refused("40004", "ACQ.TRADE_NOT_EXIST");
}

#[tokio::test]
async fn answers_and_notices_name_alipays_certificate_also_after_a_change() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let files = sandbox.enter_alipay_certificate_mode().unwrap();
    let (app, root) = numbers(&files);
    let desk = Desk::saying(&["success"]).await;
    let mut parameters = shop.parameters("alipay.trade.precreate", &shop.order("cert1", "1.05"));
    for (name, value) in [("app_cert_sn", &app), ("alipay_root_cert_sn", &root), ("notify_url", &desk.url)] {
        parameters.insert(name.into(), value.clone());
    }
    shop.sign(&mut parameters);
    shop.send(&parameters).await.good();
    sandbox.approve_alipay("cert1").unwrap();
    let told = desk.wait_for(1).await.remove(0);
    assert!(shop.is_told_by_alipay(&told), "{told:?}");
    assert_eq!(told["alipay_cert_sn"], number(&files.alipay_cert_pem));
    let answer = ask(&shop, &app, &root).await;
    assert_eq!(answer.good()["trade_status"], "TRADE_SUCCESS");
    assert_eq!(answer.certificate.unwrap(), number(&files.alipay_cert_pem));

    sandbox.switch_alipay_key().unwrap();
    let answer = ask(&shop, &app, &root).await;
    assert!(!answer.is_signed, "not by the old key");
    assert_eq!(answer.certificate.unwrap(), number(&files.next_alipay_cert_pem));
    let next = Verifier::from_certificate_pem(&files.next_alipay_cert_pem).unwrap();
    assert_eq!(sandbox.repeat_alipay_notices("cert1"), 1);
    let told = desk.wait_for(2).await.remove(1);
    assert_eq!(told["alipay_cert_sn"], number(&files.next_alipay_cert_pem));
    let signed = told.iter().filter(|(name, _)| !["sign", "sign_type"].contains(&name.as_str()));
    let message = signed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    next.verify(message.as_bytes(), &told["sign"]).unwrap();
    // Asked for again, the files are the same.
    assert_eq!(sandbox.enter_alipay_certificate_mode().unwrap().app_cert_pem, files.app_cert_pem);
}

#[tokio::test]
async fn a_page_and_a_forgery_are_as_with_public_keys() {
    let sandbox = sandbox::start(config()).await.unwrap();
    let shop = Shop::new(&sandbox);
    let (app, root) = numbers(&sandbox.enter_alipay_certificate_mode().unwrap());
    // The page's address was signed without them.
    assert_eq!(shop.open(&shop.page(&shop.order("cert1", "1.00"), NOTIFY)).await.0, 400);
    sandbox.faults().set(Fault::ForgedAnswer, FaultFrequency::Times(1));
    let mut parameters = shop.parameters("alipay.trade.precreate", &shop.order("cert2", "1.00"));
    parameters.insert("app_cert_sn".into(), app);
    parameters.insert("alipay_root_cert_sn".into(), root);
    shop.sign(&mut parameters);
    let answer = shop.send(&parameters).await;
    assert!(!answer.is_signed && answer.certificate.is_some());
}
