//! The routes.

use crate::{
    callbacks,
    config::WebConfig,
    exchanges::Exchanges,
    guard::{compression, csrf, envelope, limits::RateLimits, session, sign_ins::SignIns, streams::Streams},
    locale::Language,
    mqtt,
    pages::{connections, fleet, health, identity, machine, module, sale, sales, scan, sign_in},
    serve_error::WebError,
    shared::App,
    templates::Templates,
};
use poem::{Endpoint, EndpointExt, Response, Route, get, middleware::CookieJarManager, post};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// The whole site as an endpoint. Live streams end when `shutdown` is cancelled.
///
/// # Errors
/// If the public address is invalid, or the embedded templates are damaged.
pub fn app(
    mut config: WebConfig,
    backend: backend::Context,
    shutdown: CancellationToken,
) -> Result<impl Endpoint<Output = Response> + 'static, WebError> {
    config.public_url = checked_origin(&config.public_url)?;
    let app = Arc::new(App {
        templates: Templates::load()?,
        limits: RateLimits::new(&config.limits),
        sign_ins: SignIns::new(&config.limits),
        streams: Arc::new(Streams::new(&config.limits)),
        shared_fragments: Arc::default(),
        exchanges: Exchanges::default(),
        unknown_proxy: OnceLock::new(),
        backend,
        config,
        shutdown,
    });
    let guarded = app.clone();
    let enveloped = app.clone();
    Ok(routes(&app)
        .around(move |inner, request| csrf::check(guarded.clone(), inner, request))
        .around(move |inner, request| envelope::envelope(enveloped.clone(), inner, request))
        .around(compression::compress)
        .data(Language::resources())
        .with(CookieJarManager::new()))
}

fn routes(app: &Arc<App>) -> impl Endpoint<Output = Response> + use<> {
    let site = Route::new()
        .at("/", get(health::home))
        .at("/s", get(scan::find))
        .at("/s/", get(scan::find))
        .at("/s/:code", get(scan::show))
        .at("/s/:code/order", get(scan::await_order).post(scan::order))
        .at("/sale/:token", get(sale::show))
        .at("/sale/:token/pay", get(sale::pay))
        .at("/sale/:token/events", get(sale::events))
        .at("/identity", get(identity::come_back))
        .at("/:name<MP_verify_[0-9A-Za-z]+\\.txt>", get(identity::domain_file))
        .at("/callbacks/:provider/:account", post(callbacks::take))
        .at("/static/:name", get(health::asset))
        .at("/healthz", get(health::healthz))
        .at("/readyz", get(health::readyz))
        .at("/metrics", get(health::metrics))
        .at("/mqtt", get(mqtt::connect))
        .at("/sign-in", get(sign_in::ask).post(sign_in::enter).with(session::sessions(app)))
        .at("/sign-out", post(sign_in::leave).with(session::sessions(app)))
        .nest("/operator", operator(app).with(session::sessions(app)));
    #[cfg(feature = "demo")]
    let site = if app.config.demo.is_some() { with_demo(site) } else { site };
    site.map_to_response()
}

#[cfg(feature = "demo")]
fn with_demo(site: Route) -> Route {
    use crate::pages::demo;
    site.at("/demo", get(demo::show))
        .at("/demo/events", get(demo::events))
        .at("/demo/modules/:id/:deed", post(demo::act))
}

fn operator(app: &Arc<App>) -> impl Endpoint<Output = Response> + use<> {
    let app = app.clone();
    Route::new()
        .at("/", get(fleet::show))
        .at("/events", get(fleet::events))
        .at("/machines/:id", get(machine::show))
        .at("/machines/:id/events", get(machine::events))
        .at("/machines/:id/qr.svg", get(machine::qr))
        .at("/machines/:id/active", post(machine::set_active))
        .at("/machines/:id/locked", post(machine::set_locked))
        .at("/machines/:id/prices/:price", post(machine::change_price))
        .at("/machines/:id/module", get(module::show))
        .at("/machines/:id/module/events", get(module::events))
        .at("/machines/:id/module/settings", post(module::set_settings))
        .at("/machines/:id/module/remote-actions", post(module::send))
        .at("/machines/:id/module/learn", post(module::learn))
        .at("/machines/:id/module/learned", post(module::set_verdict))
        .at("/machines/:id/module/credential", post(module::set_credential))
        .at("/machines/:id/module/replace", post(module::replace))
        .at("/sales", get(sales::show))
        .at("/sales/events", get(sales::events))
        .at("/connections", get(connections::show))
        .at("/connections/events", get(connections::events))
        .at("/connections/:number/end", post(connections::end))
        .around(move |inner, request| session::members_only(app.clone(), inner, request))
}

/// The public address as an origin: scheme, host, and port.
fn checked_origin(public_url: &str) -> Result<String, WebError> {
    let refused = || WebError::PublicUrl(public_url.to_owned());
    let url = url::Url::parse(public_url).map_err(|_| refused())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none();
    if !plain || url.fragment().is_some() || !url.username().is_empty() || url.host_str().is_none() {
        return Err(refused());
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_address_is_an_origin() {
        assert_eq!(checked_origin("https://pay.example.com/").unwrap(), "https://pay.example.com");
        assert_eq!(checked_origin("http://127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        for wrong in ["", "pay.example.com", "ftp://pay.example.com", "https://a/b", "https://u@a", "https://a?x"] {
            assert!(checked_origin(wrong).is_err(), "{wrong}");
        }
    }
}
