//! The demo's virtual modules, and the hands that move them.

use super::state::{DemoMachine, State};
use anyhow::{Context, Result};
use async_trait::async_trait;
use module_host::{Config, Flash, VirtualModule};
use std::{collections::BTreeMap, net::SocketAddr, path::Path};
use web::{DemoControl, DemoModule};

/// All modules that run, by id, with what they are wired to.
pub struct Fleet {
    modules: BTreeMap<String, (VirtualModule, DemoMachine)>,
    /// As they were made: the order of the pages.
    order: Vec<String>,
}

impl Fleet {
    /// Starts a module for each machine.
    pub async fn start(dir: &Path, state: &State, machines: Vec<DemoMachine>, broker: SocketAddr) -> Result<Self> {
        let flash_dir = dir.join("modules");
        std::fs::create_dir_all(&flash_dir).with_context(|| format!("cannot make {}", flash_dir.display()))?;
        let mut fleet = Self { modules: BTreeMap::new(), order: vec![] };
        for (identity, machine) in state.modules.iter().zip(machines) {
            let it = identity.identity().context("a module's identity in demo-state.json is damaged")?;
            let module = VirtualModule::start(Config {
                id: it.id,
                secret: it.secret,
                broker,
                flash: Flash::File(flash_dir.join(format!("{}.flash", it.id))),
                seed: u64::from_le_bytes(it.id.as_str().as_bytes()[..8].try_into().expect("an id has 10 bytes")),
            })
            .await
            .with_context(|| format!("cannot start the virtual module {}", it.id))?;
            fleet.order.push(identity.id.clone());
            fleet.modules.insert(identity.id.clone(), (module, machine));
        }
        Ok(fleet)
    }

    /// Switches all modules off.
    pub async fn shutdown(&self) {
        for (module, _) in self.modules.values() {
            module.power_off().await;
        }
    }

    fn module(&self, id: &str) -> Option<&VirtualModule> {
        self.modules.get(id).map(|(module, _)| module)
    }
}

#[async_trait]
impl DemoControl for Fleet {
    fn modules(&self) -> Vec<DemoModule> {
        let of = |id: &String| {
            let (module, machine) = self.modules.get(id)?;
            Some(DemoModule {
                id: id.clone(),
                machine: machine.name.clone(),
                code: machine.code.clone(),
                on: module.is_on(),
                pulses: module.machine_pulses(),
            })
        };
        self.order.iter().filter_map(of).collect()
    }

    async fn stop(&self, id: &str) {
        if let Some(module) = self.module(id) {
            module.power_off().await;
        }
    }

    async fn start(&self, id: &str) {
        if let Some(module) = self.module(id) {
            module.power_on().await;
        }
    }

    async fn coin(&self, id: &str) {
        if let Some(module) = self.module(id) {
            module.insert_coin(1).await;
        }
    }
}
