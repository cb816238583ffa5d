//! All operations that somebody other than a module or a payer can ask for, and who may ask for each. This is the only
//! place where that is decided.

use crate::access::role::Role;
use Role::{Accountant, Manager, Owner, Technician, Viewer};
use strum::{EnumIter, IntoStaticStr};

/// An operation of the backend. Each public function that takes an [`Actor`](crate::access::actor::Actor) first asks
/// whether the actor may do that function's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Operation {
    /// Lists of operators, and finding one.
    ListOperators,
    /// A new operator.
    AddOperator,
    /// An operator's name, contact, time zone, refund rule.
    ChangeOperator,
    /// The password of an operator's programs.
    SetIntegratorPassword,
    /// Who signs in for an operator.
    ListMembers,
    /// Another person who signs in.
    AddMember,
    /// Another password of a member.
    SetMemberPassword,
    /// Another role of a member.
    SetMemberRole,
    /// A member who no longer signs in.
    RemoveMember,
    /// What was done, and by whom.
    ListAudit,
    /// Lists of manufacturers.
    ListManufacturers,
    /// A new manufacturer.
    AddManufacturer,
    /// The password of a manufacturer's tool.
    SetToolPassword,
    /// Merchant accounts, without their keys.
    ListMerchantAccounts,
    /// A merchant account: its keys, whether it is on, and which payments it takes.
    SetMerchantAccount,
    /// Lists of modules.
    ListModules,
    /// A new module's identity.
    RegisterModule,
    /// Whose a module is.
    AssignModule,
    /// A module's credential, disabled or enabled again.
    DisableModule,
    /// Machines and how they are.
    ViewMachines,
    /// A new machine.
    AddMachine,
    /// A machine's name, site, coin value.
    ChangeMachine,
    /// Another module for a machine, or none.
    ReplaceModule,
    /// A machine that goes out of service, and comes back.
    RetireMachine,
    /// A machine taken on or off sale.
    SetOnSale,
    /// A machine's module, locked or unlocked.
    LockMachine,
    /// Prices: added, changed, removed, put in order.
    ChangePrices,
    /// The settings of a machine's module.
    ChangeSettings,
    /// A machine's module asked to restart, blink, learn, tell how it is.
    OrderRemoteAction,
    /// What a module learned of its coin line, accepted or discarded.
    JudgeLearning,
    /// The cash expected in a box, corrected.
    CorrectCoins,
    /// Connections of modules and programs at the broker.
    ViewConnections,
    /// A connection at the broker, ended.
    EndConnection,
    /// Sales and what became of them.
    ViewSales,
    /// What was taken.
    ViewTakings,
    /// The balances of the books.
    ViewBooks,
    /// Money given back by hand, a review settled.
    DecideSale,
}

/// Who may do something. The server's own command line may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Members with one of these roles, for their own operator.
    pub roles: &'static [Role],
    /// An operator's own programs, for their operator.
    pub integrators: bool,
    /// A manufacturer's tools, for their own modules.
    pub manufacturers: bool,
}

impl Operation {
    /// Who may do it.
    pub const fn rule(self) -> Rule {
        let roles: &[Role] = match self {
            Self::ListOperators
            | Self::AddOperator
            | Self::ListManufacturers
            | Self::AddManufacturer
            | Self::SetToolPassword
            | Self::RegisterModule
            | Self::AssignModule => &[],
            Self::ChangeOperator
            | Self::SetIntegratorPassword
            | Self::AddMember
            | Self::SetMemberPassword
            | Self::SetMemberRole
            | Self::RemoveMember
            | Self::SetMerchantAccount => &[Owner],
            Self::ListMembers | Self::ListAudit | Self::AddMachine | Self::RetireMachine | Self::ChangePrices => {
                &[Owner, Manager]
            }
            Self::ListMerchantAccounts | Self::CorrectCoins | Self::DecideSale | Self::ViewBooks => {
                &[Owner, Manager, Accountant]
            }
            Self::ListModules
            | Self::ViewConnections
            | Self::EndConnection
            | Self::DisableModule
            | Self::ChangeMachine
            | Self::ReplaceModule
            | Self::SetOnSale
            | Self::LockMachine
            | Self::ChangeSettings
            | Self::OrderRemoteAction
            | Self::JudgeLearning => &[Owner, Manager, Technician],
            Self::ViewMachines => &Role::ALL,
            Self::ViewSales | Self::ViewTakings => &[Owner, Manager, Accountant, Viewer],
        };
        Rule {
            roles,
            integrators: matches!(self, Self::ViewMachines | Self::ViewSales | Self::ViewTakings),
            manufacturers: matches!(self, Self::RegisterModule),
        }
    }

    /// The word for it, as the audit log has it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
