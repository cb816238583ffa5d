//! An operator's merchant accounts: stored, switched on and off, and which of them takes which payments.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        audit::{self, Change},
        operations::Operation,
        operators::operator_row,
    },
    clock,
    ids::{AccountId, MachineId, OperatorId},
    machines::rows::permitted_machine,
    payments::{
        account,
        accounts::{account_of_identity, provider},
        choice::{self, ALL_MACHINES},
        choices::Choice,
        provider::Profile,
        providers::purpose,
        statement,
        statements::initial_statement,
    },
};
use sea_orm::{ActiveValue::Set, prelude::*};
use serde_json::{Map, json};

/// Stores an operator's merchant account (the configuration, as JSON, is tried first). One of a known identity at the
/// provider keeps its token and its choices; another identity is another account, which takes new payments of its methods
/// at all machines without a choice of their own, while the old one goes on for what it began. Gives the account's token,
/// which stands in its notify address.
///
/// # Errors
///
/// `Invalid` says what is wrong with the configuration; `NotFound`, `Forbidden`, `Store`.
pub async fn set_merchant_account(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    provider: &str,
    config: &str,
) -> Result<String> {
    let permit = actor.permit(Operation::SetMerchantAccount, operator_id, "operator")?;
    let opened = ctx.providers.factory.open(provider, config)?;
    operator_row(ctx, operator_id).await?;
    let existing = account_of_identity(ctx, operator_id, provider, &opened.profile().identity).await?;
    let new = NewConfig { operator_id, provider, config, profile: opened.profile() };
    store_config(ctx, permit, new, existing).await
}

/// Stores other keys for an account. It stays the same merchant and app: another one would be another account.
///
/// # Errors
///
/// `Invalid` says what is wrong with the configuration, or that it is another merchant's; `NotFound` if there is no such
/// account, or it is another operator's; `Forbidden`, `Store`.
pub async fn rotate_keys(ctx: &Context, actor: &Actor, account_id: AccountId, config: &str) -> Result<String> {
    let (account, permit) = permitted_account(ctx, actor, account_id).await?;
    let opened = ctx.providers.factory.open(&account.provider, config)?;
    let profile = opened.profile();
    let known = match account.identity.as_str() {
        // One from before identities were kept. One that cannot be opened any more is the reason to be here.
        "" => provider(ctx, &account).ok().map(|before| before.profile().identity.clone()),
        known => Some(known.to_owned()),
    };
    if let Some(known) = known.filter(|known| *known != profile.identity) {
        let message = format!("is of {}, and account {account_id} is of {known}: add it as one more", profile.identity);
        return Err(Error::invalid("merchant account", message));
    }
    let provider = account.provider.clone();
    let new = NewConfig { operator_id: account.operator_id, provider: &provider, config, profile };
    store_config(ctx, permit, new, Some(account)).await
}

/// A configuration that was opened, to be stored.
struct NewConfig<'a> {
    operator_id: OperatorId,
    provider: &'a str,
    config: &'a str,
    profile: &'a Profile,
}

/// Stores a configuration, of an account that is there or of a new one. Gives the account's token.
async fn store_config(
    ctx: &Context,
    permit: Permit<'_>,
    new: NewConfig<'_>,
    existing: Option<account::Model>,
) -> Result<String> {
    let NewConfig { operator_id, provider, config, profile } = new;
    let token = match &existing {
        Some(account) => account.token.clone(),
        None => clock::random_text(&*ctx.random, 26),
    };
    let sealed = ctx.seal.seal(&*ctx.random, &purpose(&token), config.as_bytes());
    let token = &token;
    let sealed = &sealed;
    let existing = &existing;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let account_id = match &existing {
                Some(account) => {
                    let mut change: account::ActiveModel = account.clone().into();
                    change.config_sealed = Set(sealed.clone());
                    // One that is switched off stays so: it needs keys that work for its refunds all the same.
                    change.identity = Set(profile.identity.clone());
                    change.update_without_returning(txn).await?;
                    account.id
                }
                None => {
                    let row = account::ActiveModel {
                        operator_id: Set(operator_id),
                        provider: Set(provider.into()),
                        token: Set(token.clone()),
                        config_sealed: Set(sealed.clone()),
                        active: Set(true),
                        created_ms: Set(ctx.now_ms()),
                        identity: Set(profile.identity.clone()),
                        ..Default::default()
                    };
                    let account_id = account::Entity::insert(row).exec(txn).await?.last_insert_id;
                    let first = initial_statement(account_id);
                    statement::Entity::insert(first).exec_without_returning(txn).await?;
                    account_id
                }
            };
            for method in &profile.methods {
                let (machine_id, method) = (ALL_MACHINES, method.word);
                let chosen = Choice { operator_id, machine_id, provider, method, account_id };
                if existing.is_none() || chosen.decided(txn).await?.is_none() {
                    chosen.store(txn).await?;
                }
            }
            let told = Change::secret("configuration").and("provider", provider).and("merchant", &*profile.identity);
            audit::record(ctx, txn, permit, ("merchant account", account_id), told).await
        })
        .await?;
    Ok(token.clone())
}

/// Has an account take the payments of its methods (or of one) from now on: at one machine, or at all that have no choice of
/// their own.
///
/// # Errors
///
/// `NotFound` if there is no such account or machine, or one is another operator's; `Invalid` if the account has no such
/// method; `Forbidden`, `Store`.
pub async fn choose_account(
    ctx: &Context,
    actor: &Actor,
    account_id: AccountId,
    machine_id: Option<MachineId>,
    method: Option<&str>,
) -> Result<()> {
    let (account, permit) = permitted_account(ctx, actor, account_id).await?;
    let operator_id = account.operator_id;
    if let Some(machine_id) = machine_id {
        let (machine, _) = permitted_machine(ctx, actor, Operation::SetMerchantAccount, machine_id).await?;
        if machine.operator_id != operator_id {
            return Err(Error::NotFound("machine"));
        }
    }
    let opened = provider(ctx, &account)?;
    let methods: Vec<&str> = opened
        .profile()
        .methods
        .iter()
        .map(|offered| offered.word)
        .filter(|word| method.is_none_or(|method| method == *word))
        .collect();
    if methods.is_empty() {
        return Err(Error::invalid("method", "is none that the account offers"));
    }
    let (account, methods) = (&account, &methods);
    let machine_id = machine_id.unwrap_or(ALL_MACHINES);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let (mut before, mut after) = (Map::new(), Map::new());
            for method in methods {
                let choice = Choice { operator_id, machine_id, provider: &account.provider, method, account_id };
                before.insert((*method).to_owned(), json!(choice.decided(txn).await?));
                after.insert((*method).to_owned(), json!(account_id));
                choice.store(txn).await?;
            }
            let told = Change::between(before.into(), after.into());
            // Where all machines are meant it is the operator's.
            match machine_id {
                ALL_MACHINES => audit::record_change(ctx, txn, permit, ("operator", operator_id), told).await,
                machine => audit::record_change(ctx, txn, permit, ("machine", machine), told).await,
            }
        })
        .await
}

/// Takes a machine's own choices away: the operator's accounts for all machines take its payments.
///
/// # Errors
///
/// `NotFound` if there is no such machine, or it is another operator's; `Forbidden`, `Store`.
pub async fn forget_choices(ctx: &Context, actor: &Actor, machine_id: MachineId) -> Result<()> {
    let (_, permit) = permitted_machine(ctx, actor, Operation::SetMerchantAccount, machine_id).await?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let own = choice::Column::MachineId.eq(machine_id);
            let chosen = choice::Entity::find().filter(own.clone()).all(txn).await?;
            choice::Entity::delete_many().filter(own).exec(txn).await?;
            let before: Map<_, _> = chosen.into_iter().map(|own| (own.method, json!(own.account_id))).collect();
            audit::record_change(ctx, txn, permit, ("machine", machine_id), Change::from(before.into())).await
        })
        .await
}

/// Switches an account on or off. One that is off takes no new orders; its callbacks, questions, refunds and statements go
/// on.
///
/// # Errors
///
/// `NotFound` if there is no such account, or it is another operator's; `Forbidden`, `Store`.
pub async fn switch_account(ctx: &Context, actor: &Actor, account_id: AccountId, active: bool) -> Result<()> {
    let (account, permit) = permitted_account(ctx, actor, account_id).await?;
    let account = &account;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut change: account::ActiveModel = account.clone().into();
            change.active = Set(active);
            if change.is_changed() {
                change.update_without_returning(txn).await?;
            }
            let told = Change::between(json!({ "active": account.active }), json!({ "active": active }));
            audit::record_change(ctx, txn, permit, ("merchant account", account_id), told).await
        })
        .await
}

/// An account, and the permit to change it.
pub(super) async fn permitted_account<'a>(
    ctx: &Context,
    actor: &'a Actor,
    account_id: AccountId,
) -> Result<(account::Model, Permit<'a>)> {
    let found = account::Entity::find_by_id(account_id).one(ctx.db.read()).await?;
    let account = found.ok_or(Error::NotFound("merchant account"))?;
    let permit = actor.permit(Operation::SetMerchantAccount, account.operator_id, "merchant account")?;
    Ok((account, permit))
}
