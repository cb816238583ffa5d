//! The demo for a phone on the same network.

use crate::demo::Demo;
use url::Url;

fn host(address: &str) -> String {
    address.parse::<Url>().unwrap().host_str().unwrap().to_owned()
}

/// What the machine's address is, and that it may have none, is not for a test to say: it is enough that whoever follows
/// the links gets through.
#[tokio::test]
async fn a_demo_that_listens_everywhere_is_paid_at_by_its_links_alone() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start_at(dir.path(), &["--http", "0.0.0.0:0"]).await;
    let facts = &demo.facts;
    assert_ne!(host(&facts.http), "0.0.0.0");
    assert_eq!(host(&facts.sandbox), host(&facts.http));
    let machine = &facts.machines[0];
    assert_eq!(machine.page, format!("{}/s/{}", facts.http, machine.code));
    let visitor = facts.visitor();
    visitor.price_forms(&machine.code).await;
    let payment = visitor.try_order(&machine.code).await.unwrap().expect("the machine is ready");
    assert!(payment.action.as_str().starts_with(&facts.sandbox), "{}", payment.action);
    let back = payment.fields.iter().find(|(name, _)| name == "redirect_url").unwrap();
    assert!(back.1.starts_with(&facts.http), "the provider leads back to {}", back.1);
    let sale = visitor.approve(&payment).await;
    visitor.sale_state(&sale, &["credited"]).await;
}

#[tokio::test]
async fn the_public_address_that_is_given_stands_in_the_links() {
    let dir = tempfile::tempdir().unwrap();
    let addresses = ["--http", "127.0.0.1:0", "--public-url", "http://phone.example:9000"];
    let demo = Demo::start_at(dir.path(), &addresses).await;
    assert_eq!(demo.facts.http, "http://phone.example:9000");
    assert!(demo.facts.machines[0].page.starts_with("http://phone.example:9000/s/"));
    assert_eq!(host(&demo.facts.sandbox), "phone.example");
}
