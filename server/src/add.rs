//! `coinwire add`: what an operation begins with. The pages take it from there.

use crate::{ConfigFile, config, config::Settings, gate::TOOL_PREFIX, house};
use anyhow::{Context, Result};
use backend::{
    Backend,
    machines::{NewMachine, PriceChange},
    modules::Provisioned,
    money::Currency,
    operators::NewOperator,
};
use clap::{Args, Subcommand};
use protocol::{ModuleId, ModuleSecret};
use std::{io::Read, path::PathBuf};

/// What to add, and to which store.
#[derive(Args)]
pub struct Add {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// An operator: the business that owns machines. Prints its number.
    Operator {
        /// Short name in MQTT topics and integrators' user name: a-z, 0-9, -.
        slug: String,
        /// The name consumers read.
        name: String,
        /// Currency of its prices: CNY or EUR.
        #[arg(long, default_value = "CNY")]
        currency: String,
        /// Its day begins so many minutes before UTC's.
        #[arg(long, default_value_t = 480)]
        utc_offset_min: i32,
        /// Refund only what was not given, where a credit was given in part.
        #[arg(long)]
        refund_remainder: bool,
    },
    /// A person who signs in for an operator. The password is read from standard input.
    Member {
        /// The operator's number.
        operator: i64,
        /// The address to sign in with.
        email: String,
    },
    /// The password by which an operator's programs read its MQTT topics, read from standard input.
    Integrator {
        /// The operator's number.
        operator: i64,
    },
    /// A manufacturer, who makes modules. Prints its number.
    Manufacturer {
        /// Short name in MQTT topics and its tool's user name: a-z, 0-9, -.
        slug: String,
        /// Its name.
        name: String,
    },
    /// The password by which a manufacturer's tool reads the health of its modules, read from standard input.
    Tool {
        /// The manufacturer's number.
        manufacturer: i64,
    },
    /// A module's identity. Without a secret a new one is made. Prints what has to go into the module.
    Module {
        /// The number of who made it.
        #[arg(long)]
        manufacturer: Option<i64>,
        /// The id and the secret (64 hexadecimal digits) of a module that has them already.
        #[arg(long, num_args = 2, value_names = ["ID", "SECRET"])]
        existing: Option<Vec<String>>,
    },
    /// A machine with its prices. Prints its scan code.
    Machine {
        /// The operator's number.
        operator: i64,
        /// The module wired to it.
        #[arg(long)]
        module: Option<String>,
        /// Its name.
        name: String,
        /// Where it stands.
        site: String,
        /// What a coin pulse is worth, in minor units (fen, cents).
        #[arg(long, default_value_t = 100)]
        coin_value_minor: i64,
        /// A price: LABEL,AMOUNT_MINOR,PULSES. May be given several times.
        #[arg(long = "price", value_name = "LABEL,AMOUNT,PULSES", required = true)]
        prices: Vec<String>,
    },
    /// An operator's merchant account. The configuration (JSON) is read from a file; README has an example.
    Merchant {
        /// The operator's number.
        operator: i64,
        /// The provider: wechat.
        provider: String,
        /// The file with the account's fields.
        file: PathBuf,
    },
}

impl Add {
    pub fn settings(&self) -> Result<Settings> {
        self.config.read()
    }

    pub async fn run(self, settings: &Settings) -> Result<()> {
        self.what.add(&house::backend_without_bus(settings).await?, settings).await
    }
}

impl What {
    async fn add(self, backend: &Backend, settings: &Settings) -> Result<()> {
        match self {
            What::Operator { slug, name, currency, utc_offset_min, refund_remainder } => {
                let currency = Currency::parse(&currency).context("the currency must be CNY or EUR")?;
                let new = NewOperator { slug, name, currency, utc_offset_min, refund_remainder };
                println!("operator {}", backend.add_operator(new).await?);
            }
            What::Member { operator, email } => {
                let member = backend.add_member(operator, &email, &password()?).await?;
                println!("member {member}");
            }
            What::Integrator { operator } => {
                backend.set_integrator_password(operator, &password()?).await?;
                println!("password set; the user name is the operator's short name");
            }
            What::Manufacturer { slug, name } => {
                println!("manufacturer {}", backend.add_manufacturer(&slug, &name).await?);
            }
            What::Tool { manufacturer } => {
                backend.set_tool_password(manufacturer, &password()?).await?;
                println!("password set; the user name is {TOOL_PREFIX} and the manufacturer's short name");
            }
            What::Module { manufacturer, existing } => {
                let module = match existing.as_deref() {
                    Some([id, secret]) => {
                        let module = known_module(id, secret)?;
                        backend.register_module(&module, manufacturer).await?;
                        module
                    }
                    _ => backend.provision_module(manufacturer).await?,
                };
                println!("id {}", module.id);
                println!("secret {}", config::hex(module.secret.expose()));
                println!("mqtt password {}", module.secret.mqtt_password(module.id));
            }
            What::Machine { operator, module, name, site, coin_value_minor, prices } => {
                let module = module.as_deref().map(ModuleId::parse_typed).transpose().context("--module")?;
                let prices = prices.iter().map(|price| parse_price(price)).collect::<Result<Vec<_>>>()?;
                let new = NewMachine { operator_id: operator, module, name, site, coin_value_minor, prices };
                let (machine, code) = backend.add_machine(new).await?;
                println!("machine {machine}\ncode {code}\npage {}/s/{code}", settings.public_url);
            }
            What::Merchant { operator, provider, file } => {
                let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let token = backend.set_merchant_account(operator, &provider, &text).await?;
                println!("callbacks {}/callbacks/{provider}/{token}", settings.public_url);
            }
        }
        Ok(())
    }
}

fn known_module(id: &str, secret: &str) -> Result<Provisioned> {
    let id = ModuleId::parse_typed(id).context("the module's id")?;
    let secret = config::parse_hex(secret).context("the module's secret must be 64 hexadecimal digits")?;
    Ok(Provisioned { id, secret: ModuleSecret::new(secret) })
}

fn parse_price(text: &str) -> Result<PriceChange> {
    let mut fields = text.rsplitn(3, ',');
    let (Some(pulses), Some(amount), Some(label)) = (fields.next(), fields.next(), fields.next()) else {
        anyhow::bail!("--price {text:?} must be LABEL,AMOUNT,PULSES, for example \"One ride,200,2\"");
    };
    Ok(PriceChange {
        label: label.into(),
        amount_minor: amount.trim().parse().with_context(|| format!("--price {text:?}: the amount"))?,
        pulses: pulses.trim().parse().with_context(|| format!("--price {text:?}: the pulses"))?,
    })
}

fn password() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(1024).read_to_string(&mut text).context("cannot read the password from standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
