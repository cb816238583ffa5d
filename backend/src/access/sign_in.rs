//! Who is signed in: members by password, web sessions, integrators on MQTT.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Who},
        manufacturer, member,
        operations::Operation,
        operator,
        operators::operator_row,
        passwords::{fingerprint, verify},
        session,
        signed_in::Member,
    },
    ids::MemberId,
    ledger,
};
use sea_orm::{
    ActiveValue::Set,
    prelude::*,
    sea_query::{Expr, OnConflict},
};
use std::collections::BTreeMap;

/// What an operator's programs or a manufacturer's tool may read over MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttReading {
    /// The topic filters within which they may subscribe.
    pub filters: Vec<String>,
    /// Changes whenever the password changes. Not a secret.
    pub fingerprint: String,
}

impl MqttReading {
    /// Access within `filters`, if the password matches the hash. Takes equally long if there is no hash.
    pub(crate) async fn of(password: &str, hash: Option<String>, filters: Vec<String>) -> Result<Option<Self>> {
        let fingerprint = hash.as_deref().map(fingerprint);
        let verified = verify(password, hash).await?;
        Ok(fingerprint.filter(|_| verified).map(|fingerprint| Self { filters, fingerprint }))
    }
}

/// What a member may read over MQTT.
#[derive(Debug, Clone)]
pub struct MqttMember {
    /// Who it is.
    pub member: Member,
    /// The topic filters within which the member may subscribe, by its role.
    pub filters: Vec<String>,
    /// Changes whenever the password or the role changes. Not a secret.
    pub fingerprint: String,
}

/// Whose fingerprints are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PasswordOwners {
    /// Integrators, by their operator's short name.
    pub integrators: Vec<String>,
    /// Members, by number.
    pub members: Vec<MemberId>,
    /// Manufacturers' tools, by the manufacturer's short name.
    pub tools: Vec<String>,
}

/// The fingerprints of several passwords at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of integrators, by their operator's short name.
    pub integrators: BTreeMap<String, String>,
    /// Of members, by number.
    pub members: BTreeMap<MemberId, String>,
    /// Of manufacturers' tools, by the manufacturer's short name.
    pub tools: BTreeMap<String, String>,
}

/// Checks e-mail and password, at the same cost whether or not the member exists. `NotFound("member")` if one is wrong.
///
/// # Errors
/// `NotFound` as said; `Busy` if too many passwords are being checked; `Store`.
pub async fn sign_in(ctx: &Context, email: &str, password: &str) -> Result<Member> {
    let email = email.trim().to_lowercase();
    let found = member::Entity::find().filter(member::Column::Email.eq(&email)).one(ctx.db.read()).await?;
    let right = verify(password, found.as_ref().map(|member| member.password_hash.clone())).await?;
    match found {
        // With the fingerprint of the verified password: if the password is changed in the meantime, this session
        // ends.
        Some(member) if right => member_of_row(ctx, member).await,
        _ => Err(Error::NotFound("member")),
    }
}

/// A member by number (from a session); `NotFound` once the member is gone.
///
/// # Errors
/// `NotFound` as said; `Store`.
pub async fn member(ctx: &Context, member_id: MemberId) -> Result<Member> {
    let member = member::Entity::find_by_id(member_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("member"))?;
    member_of_row(ctx, member).await
}

async fn member_of_row(ctx: &Context, member: member::Model) -> Result<Member> {
    let operator = operator_row(ctx, member.operator_id).await?;
    Ok(Member {
        member_id: member.id,
        operator_id: operator.id,
        operator: operator.name,
        slug: operator.slug,
        fingerprint: member.fingerprint(),
        role: member.role,
        currency: ledger::currency(&operator.currency)?,
        email: member.email,
        time_zone: operator.time_zone,
    })
}

/// Checks a member's e-mail and password at the MQTT broker and returns what the member may read. `None` if one is
/// wrong.
///
/// # Errors
/// `Busy` if too many passwords are being checked; `Store`.
pub async fn mqtt_member(ctx: &Context, email: &str, password: &str) -> Result<Option<MqttMember>> {
    let member = match sign_in(ctx, email, password).await {
        Ok(member) => member,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (filters, fingerprint) = (topics_for(&member.actor(None), &member.slug), member.fingerprint.clone());
    Ok(Some(MqttMember { filters, fingerprint, member }))
}

/// The topics that one of an operator's people or programs may read: statuses and coin pulses for those who may see
/// machines, sales for those who may see sales.
fn topics_for(actor: &Actor, slug: &str) -> Vec<String> {
    let (machines, sales) = (actor.may(Operation::ViewMachines), actor.may(Operation::ViewSales));
    let of_kind = |kind: &str| format!("v1/{slug}/+/{kind}");
    match (machines, sales) {
        (true, true) => vec![format!("v1/{slug}/#")],
        (true, false) => vec![of_kind("status"), of_kind("pulse")],
        (false, true) => vec![of_kind("sale")],
        (false, false) => vec![],
    }
}

/// The current fingerprints of some passwords. Owners without a password are left out.
///
/// # Errors
/// `Store`.
pub async fn fingerprints(ctx: &Context, of: PasswordOwners) -> Result<Fingerprints> {
    let operators =
        operator::Entity::find().filter(operator::Column::Slug.is_in(of.integrators)).all(ctx.db.read()).await?;
    let members = member::Entity::find().filter(member::Column::Id.is_in(of.members)).all(ctx.db.read()).await?;
    let made_by = manufacturer::Entity::find().filter(manufacturer::Column::Slug.is_in(of.tools));
    let manufacturers = made_by.all(ctx.db.read()).await?;
    let integrators = operators.into_iter().filter_map(|operator| {
        let hash = operator.integrator_password_hash?;
        Some((operator.slug, fingerprint(&hash)))
    });
    let members = members.into_iter().map(|member| (member.id, member.fingerprint()));
    let tools =
        manufacturers.into_iter().filter_map(|maker| Some((maker.slug, fingerprint(&maker.tool_password_hash?))));
    Ok(Fingerprints { integrators: integrators.collect(), members: members.collect(), tools: tools.collect() })
}

/// Checks an integrator's MQTT password and returns what the integrator may read. `None` if the password is wrong.
///
/// # Errors
/// `Busy` if too many passwords are being checked; `Store`.
pub async fn integrator(ctx: &Context, slug: &str, password: &str) -> Result<Option<MqttReading>> {
    let found = operator::Entity::find().filter(operator::Column::Slug.eq(slug)).one(ctx.db.read()).await?;
    // MySQL ignores trailing blanks when it compares; the row must be of exactly this operator.
    let found = found.filter(|operator| operator.slug == slug);
    let filters = found.as_ref().map_or_else(Vec::new, |operator| {
        topics_for(&Actor { who: Who::Integrator(operator.id), address: None }, slug)
    });
    MqttReading::of(password, found.and_then(|operator| operator.integrator_password_hash), filters).await
}

/// A web session's data, if it is there and not expired.
///
/// # Errors
/// `Store`.
pub async fn load_session(ctx: &Context, id: &str) -> Result<Option<String>> {
    Ok(session::Entity::find_by_id(id).filter(not_expired(ctx)).one(ctx.db.read()).await?.map(|session| session.data))
}

/// Condition for a session that has not expired. A session that expires later than a new one would was stored while
/// the clock was ahead.
fn not_expired(ctx: &Context) -> sea_orm::Condition {
    let now_ms = ctx.now_ms();
    sea_orm::Condition::all()
        .add(session::Column::ExpiresMs.gt(now_ms))
        .add(session::Column::ExpiresMs.lte(now_ms + ctx.rules.session_longest_ms))
}

/// Stores a web session's data (JSON) until `expires_ms`. Also drops sessions that expired.
///
/// # Errors
/// `Store`.
pub async fn save_session(ctx: &Context, id: &str, data: &str, expires_ms: i64) -> Result<()> {
    let now_ms = ctx.now_ms();
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            session::Entity::delete_many().filter(session::Column::ExpiresMs.lte(now_ms)).exec(txn).await?;
            let row = session::ActiveModel {
                id: Set(id.to_owned()),
                data: Set(data.to_owned()),
                expires_ms: Set(expires_ms),
            };
            let replace = OnConflict::column(session::Column::Id)
                .update_columns([session::Column::Data, session::Column::ExpiresMs])
                .to_owned();
            session::Entity::insert(row).on_conflict(replace).exec_without_returning(txn).await?;
            Ok(())
        })
        .await
}

/// Prolongs a web session without changing its data. False if it is gone or expired.
///
/// # Errors
/// `Store`.
pub async fn touch_session(ctx: &Context, id: &str, expires_ms: i64) -> Result<bool> {
    let not_expired = &not_expired(ctx);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let update = session::Entity::update_many()
                .col_expr(session::Column::ExpiresMs, Expr::value(expires_ms))
                .filter(session::Column::Id.eq(id))
                .filter(not_expired.clone())
                .exec(txn)
                .await?;
            Ok(update.rows_affected == 1)
        })
        .await
}

/// Drops a web session.
///
/// # Errors
/// `Store`.
pub async fn remove_session(ctx: &Context, id: &str) -> Result<()> {
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            session::Entity::delete_by_id(id).exec(txn).await?;
            Ok(())
        })
        .await
}
