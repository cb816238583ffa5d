//! Errors as pages: what happened, in the reader's language, and how to continue.

use crate::{
    failure::{ErrorWords, Failure, chain},
    guard::{session, session_cookie},
    navigation::{Area, ErrorOrigin, next_links, page_of},
    page::{Page, see_other},
    pages::member_context::member_context,
};
use backend::access::signed_in::Member;
use poem::{
    IntoResponse, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};
use tera::Context;

/// What must be known about a request to answer its failure.
pub(crate) struct Asked {
    is_get: bool,
    path: String,
    session: String,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            is_get: matches!(*request.method(), Method::GET | Method::HEAD),
            path: request.uri().path().to_owned(),
            session: session_cookie::cookie(request),
        }
    }
}

/// The answer to an error of a handler, a guard or poem.
pub(crate) async fn from_error(page: &Page, asked: &Asked, error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let words = ErrorWords::of(&error);
    let cause = error.downcast_ref::<Failure>().map(|failure| chain(failure)).unwrap_or_else(|| error.to_string());
    if words.status.is_server_error() {
        tracing::error!(status = words.status.as_u16(), %cause, "a request failed");
    } else {
        tracing::debug!(status = words.status.as_u16(), %cause, "a request was refused");
    }
    // A form's address opened by GET: a restored tab, or a reload.
    if words.status == StatusCode::METHOD_NOT_ALLOWED
        && asked.is_get
        && let Some(form_page) = page_of(&asked.path)
    {
        return see_other(&form_page);
    }
    answer(page, asked, &words).await
}

/// The answer to a panic.
pub(crate) async fn from_panic(page: &Page, asked: &Asked) -> Response {
    tracing::error!("a handler panicked");
    let words = ErrorWords { status: StatusCode::INTERNAL_SERVER_ERROR, word: "500", retry_after_s: None };
    answer(page, asked, &words).await
}

async fn answer(page: &Page, asked: &Asked, words: &ErrorWords) -> Response {
    let area = Area::of(&asked.path);
    let member = requesting_member(page, asked, words.status).await;
    let place =
        ErrorOrigin { here: &page.look.here, is_get: asked.is_get, status: words.status, is_member: member.is_some() };
    let mut context = context(words, &place);
    let template = match &member {
        // Consumer pages stay consumer pages, even if a member opens them.
        Some(member) if area != Area::Consumer => {
            context.extend(member_context(member));
            context.insert("tab", "");
            "operator_error.html"
        }
        Some(_) | None => "error.html",
    };
    let mut response = page.render_as(words.status, template, context).unwrap_or_else(|failure| {
        tracing::error!(cause = %chain(&failure), "the error page does not render");
        words.status.into_response()
    });
    if let Some(seconds) = words.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What the template names.
pub(crate) fn context(words: &ErrorWords, place: &ErrorOrigin<'_>) -> Context {
    let mut context = Context::new();
    context.insert("status", &words.status.as_u16());
    context.insert("word", words.word);
    context.insert("ways", &next_links(place));
    context.insert("find", &(words.status == StatusCode::NOT_FOUND && Area::of(place.here) == Area::Consumer));
    context.insert("retry_after_s", &words.retry_after_s);
    context
}

/// The member who asks: known already, or looked up if the request failed before that. If the store itself failed, it
/// is not asked again.
async fn requesting_member(page: &Page, asked: &Asked, status: StatusCode) -> Option<Member> {
    if let Some(member) = page.signed.get() {
        return Some(member.clone());
    }
    if status.is_server_error() || asked.session.is_empty() {
        return None;
    }
    session::member_of(&page.app.backend, &asked.session).await
}
