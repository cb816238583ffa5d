//! Who is signed in. The backend stores sessions under the hash of the cookie's value, so that the database alone is
//! not enough to use a session.

use crate::{
    guard::{
        form_token::ExpiredForm,
        session_cookie::{COOKIE, cookie},
    },
    navigation::page_of,
    page::{Page, see_other},
    pages::resend,
    shared::App,
};
use backend::{
    access::{actor::Actor, sign_in, signed_in::Member},
    ids::MemberId,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use poem::{
    Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response,
    http::{Method, StatusCode},
    session::{CookieConfig, ServerSession, Session, SessionStorage},
    web::cookie::SameSite,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a member stays signed in.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// The key of the member's id in a session.
const MEMBER: &str = "member";
/// The key of the fingerprint of the member's password at sign-in.
const FINGERPRINT: &str = "fingerprint";

/// Sessions in the backend's store.
pub(crate) struct Sessions(pub(crate) backend::Context);

/// The member to whom a session's cookie belongs, as far as the store knows.
pub(crate) async fn member_of(backend: &backend::Context, cookie: &str) -> Option<Member> {
    let data = sign_in::load_session(backend, &stored_id(cookie)).await.ok()??;
    let entries: BTreeMap<String, Value> = serde_json::from_str(&data).ok()?;
    let member = sign_in::member(backend, MemberId(entries.get(MEMBER)?.as_i64()?)).await.ok()?;
    // A session that began with an older password is invalid.
    (entries.get(FINGERPRINT)?.as_str()? == member.fingerprint).then_some(member)
}

/// The key under which a session is stored.
pub(crate) fn stored_id(cookie: &str) -> String {
    BASE64.encode(Sha256::digest(cookie))
}

fn unavailable(error: backend::Error) -> poem::Error {
    crate::failure::Failure::Backend(error).into()
}

impl SessionStorage for Sessions {
    async fn load_session<'a>(&'a self, session_id: &'a str) -> poem::Result<Option<BTreeMap<String, Value>>> {
        let data = sign_in::load_session(&self.0, &stored_id(session_id)).await.map_err(unavailable)?;
        // Data in an older format counts as no session.
        Ok(data.and_then(|data| serde_json::from_str(&data).ok()))
    }

    async fn update_session<'a>(
        &'a self,
        session_id: &'a str,
        entries: &'a BTreeMap<String, Value>,
        expires: Option<Duration>,
    ) -> poem::Result<()> {
        let life_ms = i64::try_from(expires.unwrap_or(SESSION_LIFE).as_millis()).unwrap_or(i64::MAX);
        let data = Value::from_iter(entries.clone()).to_string();
        let expires_ms = self.0.now_ms().saturating_add(life_ms);
        sign_in::save_session(&self.0, &stored_id(session_id), &data, expires_ms).await.map_err(unavailable)
    }

    async fn remove_session<'a>(&'a self, session_id: &'a str) -> poem::Result<()> {
        sign_in::remove_session(&self.0, &stored_id(session_id)).await.map_err(unavailable)
    }
}

/// The sessions' middleware.
pub(crate) fn sessions(app: &App) -> ServerSession<Sessions> {
    let cookie = CookieConfig::new()
        .name(COOKIE)
        .path("/")
        .http_only(true)
        .secure(app.config.secure_cookies)
        .same_site(SameSite::Lax)
        .max_age(SESSION_LIFE);
    ServerSession::new(cookie, Sessions(app.backend.clone()))
}

/// Stores the member in the session. The session id is renewed (against session fixation).
pub(crate) fn sign_in(session: &Session, member: &Member) {
    session.set(MEMBER, member.member_id);
    session.set(FINGERPRINT, &member.fingerprint);
    session.renew();
}

/// The member who asks; put into the request by [`members_only`].
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) member: Member,
    /// The member as an actor.
    pub(crate) actor: Actor,
    /// The session, as stored.
    pub(crate) session: String,
}

impl<'a> FromRequest<'a> for Signed {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let signed = request.extensions().get::<Signed>().expect("the route is for members only");
        Ok(signed.clone())
    }
}

/// Lets members through. Sends everybody else to sign in, and from there back to their page.
pub(crate) async fn members_only<E: Endpoint>(
    app: Arc<App>,
    inner: Arc<E>,
    mut request: Request,
) -> poem::Result<Response> {
    let session = request.extensions().get::<Session>().cloned().expect("sessions are around this");
    let member = match session.get::<MemberId>(MEMBER) {
        None => None,
        Some(id) => match sign_in::member(&app.backend, id).await {
            Ok(member) if session.get(FINGERPRINT).as_ref() == Some(&member.fingerprint) => Some(member),
            // The member is removed or has a new password, so the session is over.
            Ok(_) | Err(backend::Error::NotFound(_)) => {
                session.purge();
                None
            }
            Err(error) => return Err(unavailable(error)),
        },
    };
    let Some(member) = member else { return Ok(redirect_to_sign_in(&request)) };
    let page = request.extensions_mut().get_mut::<Page>().expect("the envelope puts a page into every request");
    page.look.time_zone = Some(member.time_zone.clone());
    let page = page.clone();
    let actor = member.actor(Some(page.visitor()?));
    let _ = page.signed.set(member.clone());
    // A form with an expired token is never executed.
    if let Some(expired_form) = request.extensions().get::<ExpiredForm>() {
        return Ok(resend::answer(&page, Some(&member), expired_form)?);
    }
    let session = stored_id(&cookie(&request));
    request.extensions_mut().insert(Signed { member, actor, session });
    inner.call(request).await.map(IntoResponse::into_response)
}

fn redirect_to_sign_in(request: &Request) -> Response {
    let wanted = request.extensions().get::<Page>().map_or("", |page| page.look.here.as_str());
    let path = wanted.split_once('?').map_or(wanted, |(path, _)| path);
    if path.ends_with("/events") {
        // A live stream cannot be redirected to a form; on this answer its script loads the page again.
        return Response::builder().status(StatusCode::UNAUTHORIZED).finish();
    }
    let form_page = page_of(wanted);
    let next = match *request.method() {
        Method::GET => wanted,
        // After signing in, the form that was sent is not executed; its page is shown.
        _ => form_page.as_deref().unwrap_or(path),
    };
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    see_other(&format!("/sign-in?{query}"))
}

impl Signed {
    /// Whether the session is still valid and the password unchanged. Checked again because a live stream lasts longer
    /// than the check at its start.
    pub(crate) async fn check_signed_in(&self, backend: &backend::Context) -> Result<(), backend::Error> {
        let stands = sign_in::load_session(backend, &self.session).await?.is_some();
        let member = sign_in::member(backend, self.member.member_id).await?;
        if stands && member.fingerprint == self.member.fingerprint {
            return Ok(());
        }
        Err(backend::Error::NotFound("session"))
    }
}
