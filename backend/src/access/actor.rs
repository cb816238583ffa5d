//! Who acts, and what that permits.

use crate::{
    Error, Result,
    access::{operations::Operation, role::Role},
    ids::{ManufacturerId, MemberId, OperatorId},
};
use std::net::IpAddr;

/// Who acts, and from where. What is not a module's own or a payer's begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who it is.
    pub who: Who,
    /// The visitor's address; none for what begins on the server.
    pub address: Option<IpAddr>,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A person who signed in for an operator.
    Member {
        /// The member.
        member: MemberId,
        /// Whose business it is.
        operator: OperatorId,
        /// What the member is there.
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
        /// Who it was, as far as known: a user's name, or the program's part.
        name: String,
    },
}

impl Actor {
    /// The server itself, or whoever has a shell on it.
    pub fn system(name: impl Into<String>) -> Self {
        Self { who: Who::System { name: name.into() }, address: None }
    }

    /// Whether something may be done by this one where it is at home: for pages, which show only what may be done.
    pub fn may(&self, operation: Operation) -> bool {
        let rule = operation.rule();
        match &self.who {
            Who::Member { role, .. } => rule.roles.contains(role),
            Who::Integrator(_) => rule.integrators,
            Who::Manufacturer(_) => rule.manufacturers,
            Who::System { .. } => true,
        }
    }

    /// Refuses what this one may not do where it is at home.
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
    /// `NotFound(what)` if it is another operator's: nobody learns what others have. `Forbidden` if this one may not.
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
    /// `Forbidden` if this one may not, as anybody who is bound to one operator.
    pub(crate) fn permit_all(&self, operation: Operation) -> Result<Permit<'_>> {
        match &self.who {
            Who::Member { .. } | Who::Integrator(_) => Err(Error::Forbidden(operation)),
            Who::Manufacturer(_) | Who::System { .. } => self.allowed(operation, None),
        }
    }

    /// A permit for what one operator has, or for what all have if none is named.
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

/// That somebody may do something with what belongs to an operator. Only [`Actor`] makes one, and what is written to the
/// audit log needs one: nothing is recorded that was not permitted.
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

    /// The same, recorded with an operator whom it concerns: one that was just made by it, or both of two.
    pub fn concerning(self, operator: OperatorId) -> Self {
        Self { operator: Some(operator), ..self }
    }
}
