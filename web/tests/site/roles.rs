//! Pages show what a member's role may do, and refuse the rest.

use crate::support::{Browser, PASSWORD, Site, system};
use backend::{access::role::Role, flows::operate::member, machines::fleet};

async fn signed_in(site: &Site, role: Role) -> Browser {
    let email = format!("{}@example.com", role.as_str());
    member::add_member(&site.backend, &system(), site.shop.operator_id, &email, PASSWORD, role).await.unwrap();
    let browser = site.browser();
    let page = browser.get("/sign-in").await;
    let answer = browser.post("/sign-in", &page, &[("email", email.as_str()), ("password", PASSWORD)]).await;
    assert_eq!(answer.status, 303);
    browser
}

#[tokio::test]
async fn a_technician_sees_machines_and_no_money() {
    let site = Site::open().await;
    let browser = signed_in(&site, Role::Technician).await;
    let page = browser.get("/operator").await;
    assert_eq!(page.all("h3 a"), ["Carousel"]);
    assert!(page.all("#takings-total").is_empty());
    assert!(!page.text.contains("/operator/sales"), "no link that leads nowhere");
    let path = format!("/operator/machines/{}", site.shop.machine_id);
    let machine = browser.get(&path).await;
    assert_eq!(machine.all("#active").len(), 1);
    assert!(machine.all(".price-form").is_empty());
    assert!(!machine.text.contains("Takings"));
    let refused = browser.get("/operator/sales").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.all("h1"), ["Not part of your role"]);
    assert_eq!(browser.get("/operator/sales/events").await.status, 403);
}

#[tokio::test]
async fn a_viewer_changes_nothing() {
    let site = Site::open().await;
    let browser = signed_in(&site, Role::Viewer).await;
    let path = format!("/operator/machines/{}", site.shop.machine_id);
    for page in [path.clone(), format!("{path}/module")] {
        let shown = browser.get(&page).await;
        assert_eq!(shown.status, 200);
        let forms = shown.attributes("main form", "action");
        assert!(forms.is_empty(), "{page} has {forms:?}");
    }
    let page = browser.get("/operator").await;
    for (target, fields) in [
        ("active", vec![("on", "false")]),
        ("locked", vec![("on", "true")]),
        ("module/remote-actions", vec![("remote_action", "restart")]),
        ("module/credential", vec![("disabled", "true")]),
    ] {
        let refused = browser.post(&format!("{path}/{target}"), &page, &fields).await;
        assert_eq!(refused.status, 403, "{target}");
        assert_eq!(refused.all("h1"), ["Not part of your role"], "{target}");
    }
    let machine = fleet::machine(&site.backend, &system(), site.shop.machine_id).await.unwrap();
    assert!(machine.row.active);
}
