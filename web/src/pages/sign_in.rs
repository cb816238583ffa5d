//! Signing in and out.

use crate::{
    failure::Failure,
    guard::{form_token::FormExpired, session},
    page::{ClientIp, Page, see_other},
};
use backend::access::sign_in;
use poem::{
    Response, handler,
    http::StatusCode,
    session::Session,
    web::{Form, Query},
};
use serde::Deserialize;
use std::time::Instant;
use tera::Context;

/// The page after signing in.
const HOME: &str = "/operator";
/// The longest e-mail address (RFC 5321) and password accepted.
const EMAIL_BYTES: usize = 254;
const PASSWORD_BYTES: usize = 1024;

/// What the address may say.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    /// Where to go after signing in.
    #[serde(default)]
    next: String,
    /// The member was signed out while working.
    #[serde(default)]
    again: String,
}

/// What the form says.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    email: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// The template's variables. `notice` is `wrong`, `again`, `lay-open`, or absent.
pub(crate) fn context(email: &str, next: &str, notice: Option<&str>) -> Context {
    let mut context = Context::new();
    context.insert("email", email);
    context.insert("next", next);
    context.insert("notice", &notice);
    context
}

/// Only addresses of operators' pages are accepted: a link from another site must not redirect a member elsewhere.
fn safe_next(next: &str) -> &str {
    let inside = next == HOME || next.strip_prefix(HOME).is_some_and(|rest| rest.starts_with(['/', '?']));
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if inside && plain { next } else { HOME }
}

/// `GET /sign-in`
#[handler]
pub(crate) async fn ask(page: Page, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let notice = (!asked.again.is_empty() || !asked.next.is_empty()).then_some("again");
    page.render("sign_in.html", context("", safe_next(&asked.next), notice))
}

/// `POST /sign-in`
#[handler]
pub(crate) async fn enter(
    page: Page,
    ClientIp(ip): ClientIp,
    session: &Session,
    FormExpired(form_expired): FormExpired,
    Form(form): Form<Credentials>,
) -> Result<Response, Failure> {
    let email = form.email.trim();
    if email.len() > EMAIL_BYTES || form.password.len() > PASSWORD_BYTES {
        return Err(Failure::TooLarge);
    }
    if form_expired {
        let context = context(email, safe_next(&form.next), Some("lay-open"));
        return page.render_as(StatusCode::FORBIDDEN, "sign_in.html", context);
    }
    page.app.sign_ins.attempt(ip, email, Instant::now())?;
    match sign_in::sign_in(&page.app.backend, email, &form.password).await {
        Ok(member) => {
            page.app.sign_ins.succeeded(ip, email, Instant::now());
            session::sign_in(session, &member);
            Ok(see_other(safe_next(&form.next)))
        }
        Err(backend::Error::NotFound(_)) => {
            metrics::counter!("web_sign_ins_refused_total").increment(1);
            tokio::time::sleep(page.app.sign_ins.failed(email, Instant::now())).await;
            page.render_as(
                StatusCode::UNAUTHORIZED,
                "sign_in.html",
                context(email, safe_next(&form.next), Some("wrong")),
            )
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /sign-out`
#[handler]
pub(crate) async fn leave(session: &Session) -> Response {
    session.purge();
    see_other("/sign-in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_only_to_the_operators_pages() {
        for inside in ["/operator", "/operator/sales?state=paid", "/operator?x=1"] {
            assert_eq!(safe_next(inside), inside);
        }
        for elsewhere in
            ["", "/", "https://evil.example", "//evil.example", "/operatorx", "/operator/\r\nx", "/operator/\\x"]
        {
            assert_eq!(safe_next(elsewhere), HOME, "{elsewhere}");
        }
    }
}
