//! The files by which merchants prove to their provider that our domain is theirs to name.

use crate::{
    Context, Error, Result,
    payments::{account, accounts::provider},
};
use sea_orm::prelude::*;

/// What the file of that name says, if any merchant account has it. Nothing is said that no account was stored with: else any
/// stranger could claim our domain.
///
/// # Errors
/// [`Error::NotFound`] if no account has it, [`Error::Store`].
pub async fn domain_file(ctx: &Context, name: &str) -> Result<String> {
    let accounts = account::Entity::find().all(ctx.db.read()).await?;
    // An account that cannot be opened is told of where it is used.
    let mut files = accounts
        .iter()
        .filter_map(|account| provider(ctx, account).ok())
        .filter_map(|provider| provider.profile().domain_file.clone());
    files.find(|file| file.name == name).map(|file| file.text).ok_or(Error::NotFound("file"))
}
