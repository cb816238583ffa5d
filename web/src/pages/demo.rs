//! The demo's panel: the virtual machines with their controls, and all addresses and logins.

use crate::{
    demo::{DemoModule, DemoPanel},
    failure::Failure,
    guard::streams::StreamOwner,
    live,
    page::{Page, see_other},
    rendering::{Fragment, Pace},
};
use poem::{Response, handler, web::Path};
use serde_json::json;
use std::time::Duration;
use tera::Context;

/// The virtual machines raise no events, so they are polled.
const PACE: Pace = Pace { gap: Duration::from_millis(250), tick: Duration::from_millis(400) };

/// What the templates name.
pub(crate) fn context(panel: &DemoPanel, modules: &[DemoModule]) -> Context {
    let mut context = Context::new();
    context.insert("modules", modules);
    let access = json!({
        "operator_email": panel.operator_email,
        "operator_password": panel.operator_password,
        "mqtt_url": panel.mqtt_url,
        "integrator_username": panel.integrator_username,
        "integrator_password": panel.integrator_password,
        "integrator_topics": panel.integrator_topics,
        "sandbox_url": panel.sandbox_url,
        "subscribe": subscribe_command(panel),
    });
    context.insert("access", &access);
    context
}

/// A shell command that shows what an integrator sees.
fn subscribe_command(panel: &DemoPanel) -> String {
    let address = panel.mqtt_url.trim_start_matches("mqtt://");
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
    format!(
        "mosquitto_sub -h {host} -p {port} -u {} -P {} -t '{}' -v",
        panel.integrator_username, panel.integrator_password, panel.integrator_topics
    )
}

fn panel(page: &Page) -> Result<&DemoPanel, Failure> {
    page.app.config.demo.as_ref().ok_or(Failure::NotFound)
}

/// `GET /demo`
#[handler]
pub(crate) async fn show(page: Page) -> Result<Response, Failure> {
    let panel = panel(&page)?;
    page.render("demo.html", context(panel, &panel.control.modules()))
}

/// `GET /demo/events`
#[handler]
pub(crate) async fn events(page: Page) -> Result<Response, Failure> {
    let rendering = page.clone();
    live::fragments(
        &page,
        StreamOwner::Anonymous,
        PACE,
        |_| false,
        move || {
            let page = rendering.clone();
            async move {
                let panel = panel(&page)?;
                let html = page.fragment("demo_state.html", context(panel, &panel.control.modules()))?;
                Ok(Fragment { html, last: false })
            }
        },
    )
}

/// `POST /demo/modules/{id}/{stop|start|coin|teach}`
#[handler]
pub(crate) async fn act(page: Page, Path((id, action)): Path<(String, String)>) -> Result<Response, Failure> {
    let control = &panel(&page)?.control;
    if !control.modules().iter().any(|module| module.id == id) {
        return Err(Failure::NotFound);
    }
    match action.as_str() {
        "stop" => control.stop(&id).await,
        "start" => control.start(&id).await,
        "coin" => control.coin(&id).await,
        "teach" => control.teach(&id).await,
        _ => return Err(Failure::NotFound),
    }
    Ok(see_other(&format!("/demo#module-{id}")))
}
