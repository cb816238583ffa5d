//! The races of payments, each over real HTTP: a payment provider's sandbox, the web's route for callbacks, the real
//! clients, and the store that `COINWIRE_TEST_DATABASE` chooses. Nothing goes around a signature: only base address and
//! keys differ from production.
//!
//! They stand here because a callback arrives at the web's door. A row of races is a function over [`Provider`], and a test
//! for each provider with which it can happen ([`with_each_provider`]).
//!
//! What cannot happen, and why:
//!
//! | Race | Not with | Why |
//! | --- | --- | --- |
//! | the callback comes before the create answer | Alipay | the code, or the number, that is paid by is in the answer, and a page's order needs no call |
//! | `NOT_EXIST` while it can be paid | WeChat Pay | its orders exist from the create call on |
//! | a refund is closed, stuck, or fails after it was done | Alipay | refunds are done or not made within the call; an unanswered one is asked about |
//! | another currency | Alipay | its notices name none |
//! | told by the bill alone | Alipay | its bills are not read |
//! | disputes, a stored 500 | both | neither provider has them |
//!
//! The module's part (an ack against a refund, an ack that is lost) knows no provider: `backend/tests/suite/` has it.
#![allow(clippy::unwrap_used)]

mod accounts;
mod closing;
mod copies;
mod doubtful;
mod elsewhere;
mod identity;
mod lost;
mod orders;
mod refunds;
mod support;
mod two_payments;
