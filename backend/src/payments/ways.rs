//! The ways to pay at a machine: which method with which account, and which of them a payer can use.

use crate::{
    Context, Error, Result,
    machines::machine,
    money::Currency,
    payments::{
        account,
        accounts::provider,
        bulkhead::Lane,
        choice::{self, ALL_MACHINES},
        method::{Method, PayerApp},
        provider::Provider,
    },
    sales::readiness::Readiness,
};
use sea_orm::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A way to pay: a method, and the account that takes its payments.
pub(crate) struct Way {
    pub account: account::Model,
    pub provider: Arc<dyn Provider>,
    pub method: Method,
}

impl Way {
    /// The word for it in forms. A provider's method has one account at a machine, so the word is unique there.
    pub fn word(&self) -> String {
        way_word(&self.account.provider, self.method.word)
    }
}

/// The word of a way to pay, of those of its provider and its method.
pub(crate) fn way_word(provider: &str, method: &str) -> String {
    format!("{provider}.{method}")
}

/// All ways to pay at a machine, the best first.
pub(crate) struct Ways {
    all: Vec<Way>,
    /// Why an account could not be opened, if one could not.
    broken: Option<Error>,
}

impl Ways {
    /// The ways that a payer can use and whose provider answers; or why there are none.
    ///
    /// # Errors
    /// Why there are none.
    pub fn usable(&self, ctx: &Context, app: PayerApp) -> Result<Vec<&Way>, Readiness> {
        let here: Vec<&Way> = self.all.iter().filter(|way| way.method.apps.contains(&app)).collect();
        if here.is_empty() {
            return Err(if self.all.is_empty() { Readiness::Closed } else { Readiness::OtherApp });
        }
        let has_room = |way: &&Way| ctx.providers.bulkhead(way.account.id).has_room(Lane::Order);
        let usable: Vec<&Way> = here.into_iter().filter(has_room).collect();
        if usable.is_empty() { Err(Readiness::ProviderSilent) } else { Ok(usable) }
    }

    /// The apps in which the ways work, each once.
    pub fn apps(&self) -> Vec<PayerApp> {
        let apps: BTreeSet<PayerApp> = self.all.iter().flat_map(|way| way.method.apps).copied().collect();
        apps.into_iter().collect()
    }

    /// The way with that word, or else the best one, that the payer can use now.
    ///
    /// # Errors
    /// [`Error::NotReady`] if there is none for the payer, [`Error::Conflict`] if the named one is not available, and
    /// an account's own error if it cannot be opened and no other way is left.
    pub fn choose(self, ctx: &Context, app: PayerApp, word: Option<&str>) -> Result<Way> {
        let words = self.usable(ctx, app).map(|usable| usable.iter().map(|way| way.word()).collect::<Vec<_>>());
        match (words, word) {
            (Ok(words), None) => self.named(words.first().map(String::as_str)),
            (Ok(words), Some(word)) => self.named(words.iter().any(|known| known == word).then_some(word)),
            (Err(Readiness::Closed), _) => Err(self.broken.unwrap_or(Error::NotReady(Readiness::Closed))),
            (Err(readiness), _) => Err(Error::NotReady(readiness)),
        }
    }

    /// The way with that word, whether or not anybody can use it now.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is none.
    pub fn named(self, word: Option<&str>) -> Result<Way> {
        let is_meant = |way: &Way| word == Some(way.word().as_str());
        self.all.into_iter().find(is_meant).ok_or(Error::Conflict("the way to pay"))
    }
}

/// The ways to pay at a machine in a currency. A machine's own choice counts even while its account is switched off:
/// its payments go to no other account.
pub(crate) async fn ways_of(ctx: &Context, machine: &machine::Model, currency: Currency) -> Result<Ways> {
    let choices = choice::Entity::find()
        .filter(choice::Column::OperatorId.eq(machine.operator_id))
        .filter(choice::Column::MachineId.is_in([ALL_MACHINES, machine.id]))
        .find_also_related(account::Entity)
        .all(ctx.db.read())
        .await?;
    let mut ways = Ways { all: vec![], broken: None };
    for (choice, account) in decide(choices) {
        let Some(account) = account.filter(|account| account.active) else { continue };
        let provider = match provider(ctx, &account) {
            Ok(provider) => provider,
            Err(error) => {
                ways.broken = Some(error);
                continue;
            }
        };
        let profile = provider.profile();
        let method = profile.methods.iter().find(|method| method.word == choice.method).cloned();
        if let Some(method) = method.filter(|_| profile.currencies.contains(&currency)) {
            ways.all.push(Way { account, provider, method });
        }
    }
    // Of accounts with the same kind of hand-off, the oldest: adding another account changes nothing for payers.
    ways.all.sort_by_key(|way| (way.method.handoff, way.account.id));
    Ok(ways)
}

type Choice = (choice::Model, Option<account::Model>);

/// The choices that apply at a machine: its own if it has any, else those for all machines. One for each method of each
/// provider, sorted by word.
fn decide(choices: Vec<Choice>) -> Vec<Choice> {
    let has_own = choices.iter().any(|(choice, _)| choice.machine_id != ALL_MACHINES);
    let counting = choices.into_iter().filter(|(choice, _)| (choice.machine_id != ALL_MACHINES) == has_own);
    let by_method: BTreeMap<(String, String), Choice> =
        counting.map(|chosen| ((chosen.0.provider.clone(), chosen.0.method.clone()), chosen)).collect();
    by_method.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, MachineId, OperatorId};

    fn choice(machine_id: i64, provider: &str, method: &str, account_id: i64) -> Choice {
        let (provider, method) = (provider.to_owned(), method.to_owned());
        let (operator_id, machine_id, account_id) = (OperatorId(1), MachineId(machine_id), AccountId(account_id));
        (choice::Model { id: 0, operator_id, machine_id, provider, method, account_id }, None)
    }

    #[test]
    fn a_machine_with_a_choice_of_its_own_pays_nobody_else() {
        let all = [choice(0, "b", "h5", 1), choice(0, "a", "h5", 2), choice(0, "a", "code", 2)];
        let own = [choice(7, "a", "h5", 3)];
        let expected = [("a", "h5", 3)];
        for order in [[&all[..], &own[..]].concat(), [&own[..], &all[..]].concat()] {
            let decided = decide(order);
            let decided: Vec<_> =
                decided.iter().map(|(choice, _)| (&*choice.provider, &*choice.method, choice.account_id.0)).collect();
            assert_eq!(decided, expected);
        }
    }
}
