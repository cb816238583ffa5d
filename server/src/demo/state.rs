//! What the demo must remember over a restart: its logins and the identities of its modules.

use crate::config::write_private;
use anyhow::{Context, Result};
use backend::{
    access::{actor::Actor, role::Role},
    clock::{SystemRandom, random_text},
    flows::operate::{
        machine::{self, NewMachine},
        member, merchant,
        operator::{self, NewOperator, OperatorChange},
        register_module::{self, Provisioned},
    },
    ids::OperatorId,
    machines::shapes::PriceChange,
    money::Currency,
    payments::{accounts::merchant_accounts, wechat},
    zones::Zone,
};
use protocol::{ModuleId, ModuleSecret};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// Who sets the demo up.
pub(super) fn system() -> Actor {
    Actor::system("the demo")
}

/// The demo operator's short name.
pub const OPERATOR_SLUG: &str = "sunny";
/// What its integrator may read.
pub const TOPICS: &str = "v1/sunny/#";
/// Its member, who also runs the server.
pub const EMAIL: &str = "owner@sunny.example";
/// The contact for its payers.
const CONTACT: &str = "help@sunny.example";
const PASSWORD_CHARS: usize = 12;

/// Machines of the demo: name, site, prices (label, fen, pulses). Repeated where there are more modules.
type Kind = (&'static str, &'static str, &'static [(&'static str, i64, i32)]);
const KINDS: [Kind; 4] = [
    ("Rocket ride", "Central mall, 1st floor", &[("One ride", 200, 2), ("Three rides", 500, 6)]),
    ("Shoe shiner", "Railway station, hall B", &[("Quick shine", 300, 3), ("Full shine", 500, 5)]),
    ("Air pump", "Petrol station North", &[("5 minutes", 100, 1), ("15 minutes", 250, 3)]),
    ("Car washer", "Petrol station North", &[("Foam", 600, 6), ("Foam and wax", 1000, 10)]),
];

/// A module's stored identity.
#[derive(Serialize, Deserialize)]
pub struct Identity {
    pub id: String,
    pub secret_hex: String,
}

/// A machine of the demo.
pub struct DemoMachine {
    pub name: String,
    pub code: String,
}

/// What is remembered.
#[derive(Serialize, Deserialize)]
pub struct State {
    pub email: String,
    pub password: String,
    pub integrator_password: String,
    pub modules: Vec<Identity>,
    /// Registered and wired, but no virtual module runs for it: to try a real module by hand.
    pub spare: Identity,
    operator_id: Option<OperatorId>,
    machine_codes: Vec<String>,
    spare_is_wired: bool,
    #[serde(skip)]
    file: std::path::PathBuf,
}

impl Identity {
    fn new() -> Self {
        let random = &SystemRandom;
        let mut secret = [0; 32];
        backend::clock::Random::fill(random, &mut secret);
        Self { id: random_text(random, ModuleId::CHARS), secret_hex: hex::encode(secret) }
    }

    pub fn identity(&self) -> Option<Provisioned> {
        let mut secret = [0; 32];
        hex::decode_to_slice(&self.secret_hex, &mut secret).ok()?;
        Some(Provisioned { id: ModuleId::parse(&self.id).ok()?, secret: ModuleSecret::new(secret) })
    }
}

impl State {
    /// Reads what an earlier demo left in `dir`, or creates it; at least `modules` modules.
    pub fn load_or_make(dir: &Path, modules: u16) -> Result<Self> {
        let file = dir.join("demo-state.json");
        let mut state = if file.exists() {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is damaged; remove it", file.display()))?
        } else {
            let random = &SystemRandom;
            State {
                email: EMAIL.into(),
                password: random_text(random, PASSWORD_CHARS).to_lowercase(),
                integrator_password: random_text(random, PASSWORD_CHARS).to_lowercase(),
                modules: vec![],
                spare: Identity::new(),
                operator_id: None,
                machine_codes: vec![],
                spare_is_wired: false,
                file: Default::default(),
            }
        };
        state.file = file;
        while state.modules.len() < usize::from(modules) {
            state.modules.push(Identity::new());
        }
        state.save()?;
        Ok(state)
    }

    fn save(&self) -> Result<()> {
        write_private(&self.file, serde_json::to_string_pretty(self)?.as_bytes())
            .with_context(|| format!("cannot write {}: is the data directory writable?", self.file.display()))
    }

    /// Adds to the store what is missing: the operator with its logins, its account with the provider, and a machine
    /// for each module and for the spare. Returns the modules' machines.
    pub async fn seed(&self, backend: &backend::Context, sandbox: &sandbox::Sandbox) -> Result<Vec<DemoMachine>> {
        let mut state = State::load_or_make(self.file.parent().context("the data directory")?, 0)?;
        let operator_id = match state.operator_id {
            Some(operator_id) => operator_id,
            None => {
                let operator_id = state.add_operator(backend).await?;
                state.operator_id = Some(operator_id);
                state.save()?;
                operator_id
            }
        };
        merchant::set_merchant_account(backend, &system(), operator_id, "wechat", &account(sandbox)?).await?;
        set_alipay(backend, operator_id, sandbox).await?;
        let mut machines = vec![];
        for (number, identity) in self.modules.iter().enumerate() {
            let (name, site, prices) = machine(number);
            let code = match state.machine_codes.get(number) {
                Some(code) => code.clone(),
                None => {
                    let code = add_machine(backend, operator_id, identity, &name, site, prices).await?;
                    state.machine_codes.push(code.clone());
                    state.save()?;
                    code
                }
            };
            machines.push(DemoMachine { name, code });
        }
        if !state.spare_is_wired {
            add_machine(backend, operator_id, &self.spare, "Spare machine", "Workshop", KINDS[0].2).await?;
            state.spare_is_wired = true;
            state.save()?;
        }
        Ok(machines)
    }

    async fn add_operator(&self, backend: &backend::Context) -> Result<OperatorId> {
        let operator_id = operator::add_operator(
            backend,
            &system(),
            NewOperator {
                slug: OPERATOR_SLUG.into(),
                name: "Sunny Rides".into(),
                currency: Currency::Cny,
                time_zone: Zone::default_for(Currency::Cny),
                refund_remainder: false,
            },
        )
        .await?;
        let change = OperatorChange { contact: Some(CONTACT.into()), ..OperatorChange::default() };
        operator::change_operator(backend, &system(), operator_id, change).await?;
        member::add_member(backend, &system(), operator_id, &self.email, &self.password, Role::Owner).await?;
        operator::set_integrator_password(backend, &system(), operator_id, &self.integrator_password).await?;
        Ok(operator_id)
    }
}

fn machine(number: usize) -> (String, &'static str, &'static [(&'static str, i64, i32)]) {
    let (name, site, prices) = KINDS[number % KINDS.len()];
    let round = number / KINDS.len();
    let name = if round == 0 { name.to_owned() } else { format!("{name} {}", round + 1) };
    (name, site, prices)
}

async fn add_machine(
    backend: &backend::Context,
    operator_id: OperatorId,
    identity: &Identity,
    name: &str,
    site: &str,
    prices: &[(&str, i64, i32)],
) -> Result<String> {
    let module = identity.identity().context("a module's identity in demo-state.json is damaged")?;
    register_module::register_module(backend, &system(), &module, None).await?;
    let prices = prices.iter().map(|(label, amount_minor, pulses)| PriceChange {
        label: (*label).into(),
        amount_minor: *amount_minor,
        pulses: *pulses,
    });
    let (_, code) = machine::add_machine(
        backend,
        &system(),
        NewMachine {
            operator_id,
            module: Some(module.id),
            name: name.into(),
            site: site.into(),
            coin_value_minor: 100,
            prices: prices.collect(),
        },
    )
    .await?;
    Ok(code)
}

/// Also an account with Alipay, if payers are on this computer: their browsers use the same sandbox address as our
/// calls, and other devices cannot reach it. Otherwise an earlier demo's account is switched off.
async fn set_alipay(backend: &backend::Context, operator_id: OperatorId, sandbox: &sandbox::Sandbox) -> Result<()> {
    let is_reached = sandbox.public_url() == sandbox.base_url();
    if is_reached {
        let account = sandbox.alipay();
        let account = json!({
            "base_url": account.base_url,
            "auth_url": account.auth_url,
            "app_id": account.app_id,
            "op_app_id": account.op_app_id,
            "seller_id": account.seller_id,
            "app_private_key_pem": account.app_private_key_pem,
            "alipay_public_keys": [account.alipay_public_key_pem],
        });
        merchant::set_merchant_account(backend, &system(), operator_id, "alipay", &account.to_string()).await?;
    }
    for known in merchant_accounts(backend, &system(), Some(operator_id)).await? {
        if known.provider == "alipay" && known.active != is_reached {
            merchant::switch_account(backend, &system(), known.account_id, is_reached).await?;
        }
    }
    Ok(())
}

/// The provider's side issues an account; our side takes it as an operator would enter it.
fn account(sandbox: &sandbox::Sandbox) -> Result<String> {
    let merchant = sandbox.merchant();
    let account = wechat::Account {
        base_url: sandbox.base_url().into(),
        appid: merchant.appid,
        mchid: merchant.mchid,
        merchant_serial: merchant.merchant_serial,
        merchant_private_key_pem: merchant.merchant_private_key_pem,
        api_v3_key: merchant.api_v3_key,
        platform_keys: merchant.platform_keys.into_iter().map(|(id, pem)| wechat::PlatformKey { id, pem }).collect(),
        app_secret: Some(merchant.app_secret),
        authorize_base_url: Some(sandbox.public_url().into()),
        ..Default::default()
    };
    Ok(serde_json::to_string(&account)?)
}
