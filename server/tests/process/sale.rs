//! A sale as a consumer without JavaScript and cookies makes it.

use crate::{demo::Demo, visitor::Visitor};
use reqwest::StatusCode;

#[tokio::test]
async fn a_sale_is_paid_credited_and_counted_by_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let machine = &demo.facts.machines[0];
    let visitor = demo.facts.visitor();
    let before = visitor.machine_pulses(&machine.module).await;

    let bought = visitor.buy(&machine.code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;

    let page = visitor.get(&bought.path).await;
    let given = format!("{0} of {0} credits given", bought.pulses);
    assert!(page.texts(".receipt dd").contains(&given), "{:?}", page.texts(".receipt dd"));
    assert_eq!(visitor.machine_pulses(&machine.module).await, before + bought.pulses);
    let other = &demo.facts.machines[1];
    assert_eq!(visitor.machine_pulses(&other.module).await, 0, "another machine was credited");
}

#[tokio::test]
async fn the_page_of_a_form_counts_once_and_its_price_cannot_be_altered() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let code = &demo.facts.machines[0].code;
    let visitor = demo.facts.visitor();
    let form = visitor.price_forms(code).await.remove(0);

    let altered = visitor.submit(&form.clone().with("amount_minor", "1")).await;
    assert_eq!((altered.status, altered.location), (StatusCode::CONFLICT, None));
    assert!(altered.html.contains("Nothing was charged"), "{}", altered.html);

    // Where the provider takes a while, a page waits first; the form may be sent again as often as one likes.
    let first = crate::until("the order", async || visitor.submit(&form).await.location).await;
    let again = visitor.submit(&form).await;
    assert_eq!(again.location, Some(first), "a form sent twice made a second order");

    let forged = visitor.submit(&form.clone().with("csrf", "forged")).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert_eq!(visitor.get("/s/UNKNOWN").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visitor.get("/sale/UNKNOWN").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_machine_that_is_off_takes_no_money_and_a_sale_caught_between_is_refunded() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let machine = &demo.facts.machines[0];
    let visitor = demo.facts.visitor();
    visitor.price_forms(&machine.code).await;
    let before = visitor.machine_pulses(&machine.module).await;
    let payment = visitor.try_order(&machine.code).await.unwrap().expect("the machine is ready");

    visitor.demo_button(&machine.module, "stop").await;
    takes_no_money(&visitor, &machine.code).await;

    let path = visitor.approve(&payment).await;
    visitor.sale_state(&path, &["refunded"]).await;
    assert_eq!(visitor.get(&path).await.texts("h1"), ["Refunded"]);

    visitor.demo_button(&machine.module, "start").await;
    visitor.price_forms(&machine.code).await;
    assert_eq!(visitor.machine_pulses(&machine.module).await, before, "a refunded sale was credited as well");
}

async fn takes_no_money(visitor: &Visitor, code: &str) {
    let words = crate::until("the scan page to refuse", async || {
        let page = visitor.get(&format!("/s/{code}")).await;
        (page.status == StatusCode::OK && page.forms("/order").is_empty()).then(|| page.texts(".status"))
    })
    .await;
    assert!(words == ["Offline"] || words == ["Not answering"], "{words:?}");
}

#[tokio::test]
async fn a_refund_made_in_the_providers_console_shows_on_the_sales_page() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let visitor = demo.facts.visitor();
    let bought = visitor.buy(&demo.facts.machines[0].code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;

    let console = Visitor::new(demo.facts.sandbox.parse().unwrap());
    let form = console.get("/console").await.forms("/console").remove(0);
    let refunded = console.submit(&form.with("yuan", "0.25").with("tell", "1")).await;
    assert_eq!(refunded.status, StatusCode::SEE_OTHER, "{}", refunded.html);
    crate::until("the sale's page to tell", async || {
        let page = visitor.get(&bought.path).await;
        page.html.contains("The operator has returned ¥0.25 of your payment.").then_some(())
    })
    .await;
    assert_eq!(visitor.get(&bought.path).await.sale_state().as_deref(), Some("credited"));
}
