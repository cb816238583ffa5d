//! A merchant's account with a provider whose books are kept here. How calls are met (in time, late, never, with a fault) is
//! said by a [`Conduct`]: a script in the suite, chance in the simulation.

use crate::{
    book::{Book, Habits, refused},
    notice::{self, Config},
};
use async_trait::async_trait;
use backend::{
    money::Currency,
    payments::{
        method::{Handoff, HandoffKind},
        provider::{
            CallbackAnswer, CallbackError, CallbackRules, CloseOutcome, Created, PaymentRequest, Profile, Provider,
            ProviderError, RawCallback, RefundAnswer, RefundNumbers, RefundRequest, Statement, TradeNumbers,
            TradeState, VerifiedCallback,
        },
    },
};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Create,
    Query,
    Close,
    Refund,
    QueryRefund,
    Statement,
}

/// A call, with what is asked.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    Create(&'a PaymentRequest),
    Query(&'a str),
    Close(&'a str),
    Refund(&'a RefundRequest),
    QueryRefund(&'a str),
    Statement(i64),
}

impl Asked<'_> {
    /// Its kind.
    pub fn call(&self) -> Call {
        match self {
            Asked::Create(_) => Call::Create,
            Asked::Query(_) => Call::Query,
            Asked::Close(_) => Call::Close,
            Asked::Refund(_) => Call::Refund,
            Asked::QueryRefund(_) => Call::QueryRefund,
            Asked::Statement(_) => Call::Statement,
        }
    }

    /// The number it is about.
    pub fn number(&self) -> String {
        match self {
            Asked::Create(request) => request.out_trade_no.clone(),
            Asked::Refund(request) => request.numbers.out_refund_no.clone(),
            Asked::Query(number) | Asked::Close(number) | Asked::QueryRefund(number) => (*number).to_owned(),
            Asked::Statement(day) => day.to_string(),
        }
    }
}

/// A callback was taken: as most providers want it to be answered.
pub fn no_content() -> CallbackAnswer {
    CallbackAnswer { status: 204, content_type: "", body: String::new() }
}

/// Does in the books what a call asks for.
pub type Act<'a> = dyn FnMut(&mut Book) + Send + 'a;

/// How a provider meets calls.
#[async_trait]
pub trait Conduct: Send + Sync {
    /// A call arrives: `act` does what is asked in the books, if it is done at all. An error is what is answered instead.
    async fn meet(&self, asked: Asked<'_>, act: &mut Act<'_>) -> Result<(), ProviderError>;

    /// An order is signed and given to the payer, without a call: nothing of it can fail or be lost.
    fn sign(&self, request: &PaymentRequest, act: &mut Act<'_>);
}

/// A merchant's account.
pub struct Account<C> {
    conduct: C,
    config: Config,
    profile: Profile,
    habits: Habits,
    pay_url: &'static str,
}

impl<C: Conduct> Account<C> {
    /// An account. Payers are sent to `pay_url`, with the attempt's number behind it; so are those who scan a code.
    pub fn new(conduct: C, config: Config, habits: Habits, pay_url: &'static str) -> Self {
        let profile = Profile {
            identity: config.merchant.clone(),
            methods: habits.methods.to_vec(),
            currencies: &Currency::ALL,
            finds_by_our_number: true,
            attach_max_bytes: habits.attach_max_bytes,
            has_statements: habits.has_statements,
            calendar: habits.calendar,
            domain_file: None,
            callbacks: CallbackRules {
                kept_headers: &[notice::SIGNATURE],
                taken: habits.taken,
                failed: CallbackAnswer::failure,
            },
        };
        Self { conduct, config, profile, habits, pay_url }
    }

    /// Meets a call, and gives what was done.
    async fn meet<T: Send>(
        &self,
        asked: Asked<'_>,
        mut act: impl FnMut(&mut Book) -> T + Send,
    ) -> Result<T, ProviderError> {
        let mut done = None;
        self.conduct.meet(asked, &mut |book| done = Some(act(book))).await?;
        done.ok_or_else(|| ProviderError::Unknown("nothing was done".into()))
    }
}

#[async_trait]
impl<C: Conduct> Provider for Account<C> {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        let method = self.profile.methods.iter().find(|method| method.word == request.method);
        let kind = method.ok_or_else(|| refused("METHOD", "there is none of that word"))?.handoff;
        let habits = self.habits;
        if kind == HandoffKind::Redirect && !habits.begins_with_order {
            self.conduct.sign(request, &mut |book| book.create(request, habits));
        } else {
            self.meet(Asked::Create(request), |book| book.create(request, habits)).await?;
        }
        let url = format!("{}{}", self.pay_url, request.out_trade_no);
        let handoff = if kind == HandoffKind::Code { Handoff::Code { text: url } } else { Handoff::Redirect { url } };
        Ok(Created { handoff, reference: None })
    }

    async fn query(&self, trade: &TradeNumbers) -> Result<TradeState, ProviderError> {
        let number = &trade.out_trade_no;
        self.meet(Asked::Query(number), |book| book.state(number)).await
    }

    async fn close(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        let number = &trade.out_trade_no;
        self.meet(Asked::Close(number), |book| book.close(number)).await?
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        self.meet(Asked::Refund(request), |book| book.refund(request)).await?
    }

    async fn query_refund(&self, refund: &RefundNumbers) -> Result<RefundAnswer, ProviderError> {
        let number = &refund.out_refund_no;
        self.meet(Asked::QueryRefund(number), |book| book.refund_answer(number)).await
    }

    async fn statement(&self, day: i64) -> Result<Statement, ProviderError> {
        self.meet(Asked::Statement(day), |book| book.statement(day, self.habits)).await
    }

    fn verify_callback(&self, raw: RawCallback<'_>, _: i64) -> Result<VerifiedCallback, CallbackError> {
        notice::verify(&self.config, raw)
    }
}
