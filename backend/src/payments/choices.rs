//! Rows of choices: which account takes which method's payments.

use crate::{
    Result,
    ids::{AccountId, MachineId, OperatorId},
    payments::choice,
};
use sea_orm::{ActiveValue::Set, Condition, DatabaseTransaction, prelude::*};

/// Which account takes a method's payments, to be stored.
pub(crate) struct Choice<'a> {
    pub operator_id: OperatorId,
    pub machine_id: MachineId,
    pub provider: &'a str,
    pub method: &'a str,
    pub account_id: AccountId,
}

impl Choice<'_> {
    fn same_method(&self) -> Condition {
        Condition::all()
            .add(choice::Column::OperatorId.eq(self.operator_id))
            .add(choice::Column::MachineId.eq(self.machine_id))
            .add(choice::Column::Provider.eq(self.provider))
            .add(choice::Column::Method.eq(self.method))
    }

    /// The account that currently takes these payments, if one is chosen.
    pub async fn decided(&self, txn: &DatabaseTransaction) -> Result<Option<AccountId>> {
        Ok(choice::Entity::find().filter(self.same_method()).one(txn).await?.map(|choice| choice.account_id))
    }

    pub async fn store(&self, txn: &DatabaseTransaction) -> Result<()> {
        choice::Entity::delete_many().filter(self.same_method()).exec(txn).await?;
        let row = choice::ActiveModel {
            operator_id: Set(self.operator_id),
            machine_id: Set(self.machine_id),
            provider: Set(self.provider.into()),
            method: Set(self.method.into()),
            account_id: Set(self.account_id),
            ..Default::default()
        };
        choice::Entity::insert(row).exec_without_returning(txn).await?;
        Ok(())
    }
}
