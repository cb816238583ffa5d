//! Who acts, and what that permits.

use crate::{
    Error, Result,
    access::{operations::Operation, role::Role},
    ids::{ManufacturerId, MemberId, OperatorId},
};
use std::net::IpAddr;

/// Who acts, and from where. Every request that comes neither from a module nor from a payer starts with an `Actor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who it is.
    pub who: Who,
    /// The visitor's address; none if the request starts on the server itself.
    pub address: Option<IpAddr>,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A person who signed in for an operator.
    Member {
        /// The member.
        member: MemberId,
        /// The operator.
        operator: OperatorId,
        /// The member's role there.
        role: Role,
        /// The address the member signed in with, as the audit log keeps it.
        email: String,
    },
    /// An operator's own program.
    Integrator(OperatorId),
    /// A manufacturer's tool.
    Manufacturer(ManufacturerId),
    /// The server's own command line, or the server itself.
    System {
        /// Who it was, as far as known: a user's name, or the name of the part of the program.
        name: String,
    },
}

impl Actor {
    /// The server itself, or whoever has a shell on it.
    pub fn system(name: impl Into<String>) -> Self {
        Self { who: Who::System { name: name.into() }, address: None }
    }

    /// Whether the actor may do something for its own operator. For pages, which show only what is allowed.
    pub fn may(&self, operation: Operation) -> bool {
        let rule = operation.rule();
        match &self.who {
            Who::Member { role, .. } => rule.roles.contains(role),
            Who::Integrator(_) => rule.integrators,
            Who::Manufacturer(_) => rule.manufacturers,
            Who::System { .. } => true,
        }
    }

    /// Refuses what the actor may not do for its own operator.
    ///
    /// # Errors
    ///
    /// `Forbidden`.
    pub fn check(&self, operation: Operation) -> Result<()> {
        if self.may(operation) { Ok(()) } else { Err(Error::Forbidden(operation)) }
    }

    /// Who it is, for people: a member's e-mail address, or what is known of whoever has a shell.
    pub fn name(&self) -> &str {
        match &self.who {
            Who::Member { email, .. } => email,
            Who::Integrator(_) => "the operator's program",
            Who::Manufacturer(_) => "the manufacturer's tool",
            Who::System { name } => name,
        }
    }

    /// A permit to do something with what belongs to an operator.
    ///
    /// # Errors
    ///
    /// `NotFound(what)` if it is another operator's, so that nobody learns what others have. `Forbidden` if the actor
    /// may not do it.
    pub(crate) fn permit(&self, operation: Operation, operator: OperatorId, what: &'static str) -> Result<Permit<'_>> {
        let sees = match &self.who {
            Who::Member { operator: own, .. } | Who::Integrator(own) => *own == operator,
            Who::Manufacturer(_) => false,
            Who::System { .. } => true,
        };
        if !sees {
            return Err(Error::NotFound(what));
        }
        self.allowed(operation, Some(operator))
    }

    /// A permit to do something with what belongs to no operator, or to all of them.
    ///
    /// # Errors
    ///
    /// `Forbidden` if the actor may not do it. Nobody who is bound to one operator may.
    pub(crate) fn permit_all(&self, operation: Operation) -> Result<Permit<'_>> {
        match &self.who {
            Who::Member { .. } | Who::Integrator(_) => Err(Error::Forbidden(operation)),
            Who::Manufacturer(_) | Who::System { .. } => self.allowed(operation, None),
        }
    }

    /// A permit for what one operator has, or for what all operators have if none is named.
    ///
    /// # Errors
    ///
    /// As [`Self::permit`] and [`Self::permit_all`].
    pub(crate) fn permit_of(&self, operation: Operation, operator: Option<OperatorId>) -> Result<Permit<'_>> {
        match operator {
            Some(operator) => self.permit(operation, operator, "operator"),
            None => self.permit_all(operation),
        }
    }

    fn allowed(&self, operation: Operation, operator: Option<OperatorId>) -> Result<Permit<'_>> {
        self.check(operation)?;
        Ok(Permit { actor: self, operation, operator })
    }
}

/// Proof that an actor may do something with what belongs to an operator. Only [`Actor`] makes one, and writing to the
/// audit log needs one, so nothing is recorded that was not permitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permit<'a> {
    actor: &'a Actor,
    operation: Operation,
    operator: Option<OperatorId>,
}

impl<'a> Permit<'a> {
    /// Who acts.
    pub fn actor(&self) -> &'a Actor {
        self.actor
    }

    /// What is done.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whose it is.
    pub fn operator(&self) -> Option<OperatorId> {
        self.operator
    }

    /// The same permit, recorded under another operator that it concerns: one just created with it, or one of two
    /// involved.
    pub fn concerning(self, operator: OperatorId) -> Self {
        Self { operator: Some(operator), ..self }
    }
}
