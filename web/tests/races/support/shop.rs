//! The one shop: an operator with an account at each provider, and a machine.

use super::{
    actors::{acting_for, system},
    module::TestModule,
    provider::Provider,
};
use backend::{
    flows::operate::{
        machine::{self, NewMachine},
        merchant,
        operator::{self, NewOperator},
        register_module,
    },
    ids::{OperatorId, PriceId},
    machines::{fleet, shapes::PriceChange},
    money::Currency,
    zones::Zone,
};
use sandbox::Sandbox;

/// What the price of the shop costs, in minor units.
pub const PRICE_MINOR: i64 = 500;
/// Pulses of the price of the shop.
pub const PRICE_PULSES: u16 = 5;

/// The shop's machine and its module.
pub struct Shop {
    pub operator_id: OperatorId,
    pub code: String,
    pub price_id: PriceId,
    pub module: TestModule,
}

/// Opens the shop. Its accounts are what the sandbox hands out.
pub async fn open_shop(backend: &backend::Context, sandbox: &Sandbox) -> Shop {
    let operator = NewOperator {
        slug: "acme".into(),
        name: "Acme rides".into(),
        currency: Currency::Cny,
        time_zone: Zone::default_for(Currency::Cny),
        refund_remainder: false,
    };
    let operator_id = operator::add_operator(backend, &system(), operator).await.unwrap();
    for provider in [Provider::Wechat, Provider::Alipay] {
        let account = provider.account(sandbox);
        merchant::set_merchant_account(backend, &system(), operator_id, provider.word(), &account).await.unwrap();
    }
    let module = TestModule::new(register_module::provision_module(backend, &system(), None).await.unwrap());
    let price = PriceChange { label: "One ride".into(), amount_minor: PRICE_MINOR, pulses: PRICE_PULSES.into() };
    let machine = NewMachine {
        operator_id,
        module: Some(module.id),
        name: "Rocket".into(),
        site: "Mall".into(),
        coin_value_minor: 100,
        prices: vec![price],
    };
    let (machine_id, code) = machine::add_machine(backend, &system(), machine).await.unwrap();
    let price_id = fleet::machine(backend, &acting_for(operator_id), machine_id).await.unwrap().prices[0].id;
    Shop { operator_id, code, price_id, module }
}
