//! The demo's virtual modules, and their controls.

use super::{
    state::{DemoMachine, State},
    teacher::{LearningWatch, teach},
};
use anyhow::{Context, Result};
use async_trait::async_trait;
use module_host::{Config, Flash, VirtualModule};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::JoinHandle;
use web::{DemoControl, DemoLearning, DemoModule};

/// All modules that run, by id, with their machines.
pub struct Fleet {
    members: BTreeMap<String, Arc<Member>>,
    /// In the order in which they were made, which is the order on the pages.
    order: Vec<String>,
}

/// A module and its machine.
struct Member {
    module: VirtualModule,
    machine: DemoMachine,
    watch: LearningWatch,
    /// The last learning that was played.
    learning_result: Mutex<Option<DemoLearning>>,
    /// The task that plays the person.
    teacher: Mutex<Option<JoinHandle<()>>>,
}

impl Fleet {
    /// Starts a module for each machine.
    pub async fn start(
        dir: &Path,
        state: &State,
        machines: Vec<DemoMachine>,
        broker: SocketAddr,
        backend: &backend::Context,
    ) -> Result<Self> {
        let flash_dir = dir.join("modules");
        std::fs::create_dir_all(&flash_dir).with_context(|| format!("cannot make {}", flash_dir.display()))?;
        let mut fleet = Self { members: BTreeMap::new(), order: vec![] };
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
            let watch = LearningWatch::of(backend, &machine.code).await?;
            let member =
                Member { module, machine, watch, learning_result: Mutex::default(), teacher: Mutex::default() };
            fleet.order.push(identity.id.clone());
            fleet.members.insert(identity.id.clone(), Arc::new(member));
        }
        Ok(fleet)
    }

    /// Switches all modules off.
    pub async fn shutdown(&self) {
        for member in self.members.values() {
            member.stop_teaching();
            member.module.power_off().await;
        }
    }

    fn module(&self, id: &str) -> Option<&VirtualModule> {
        self.members.get(id).map(|member| &member.module)
    }
}

impl Member {
    fn set_learning(&self, learning_result: Option<DemoLearning>) {
        *self.learning_result.lock().unwrap_or_else(PoisonError::into_inner) = learning_result;
    }

    fn learning_result(&self) -> Option<DemoLearning> {
        self.learning_result.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start_teaching(self: &Arc<Self>) {
        let mut teacher = self.teacher.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.module.is_on() || teacher.as_ref().is_some_and(|teacher| !teacher.is_finished()) {
            return;
        }
        // The module starts by listening; it reports that itself only after a moment.
        self.set_learning(Some(DemoLearning { stage: "quiet", ended: false, coins: 0, coins_asked: 0 }));
        let member = self.clone();
        *teacher = Some(tokio::spawn(async move {
            let taught =
                teach(&member.module, &member.watch, |learning_result| member.set_learning(Some(learning_result)))
                    .await;
            if let Err(error) = taught {
                tracing::warn!(module = %member.module.id(), "could not be taught: {error:#}");
                member.set_learning(None);
            }
        }));
    }

    fn stop_teaching(&self) {
        if let Some(teacher) = self.teacher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            teacher.abort();
        }
        self.set_learning(None);
    }
}

#[async_trait]
impl DemoControl for Fleet {
    fn modules(&self) -> Vec<DemoModule> {
        let of = |id: &String| {
            let member = self.members.get(id)?;
            Some(DemoModule {
                id: id.clone(),
                machine: member.machine.name.clone(),
                code: member.machine.code.clone(),
                on: member.module.is_on(),
                pulses: member.module.machine_pulses(),
                learning_result: member.learning_result(),
            })
        };
        self.order.iter().filter_map(of).collect()
    }

    async fn stop(&self, id: &str) {
        if let Some(member) = self.members.get(id) {
            member.stop_teaching();
            member.module.power_off().await;
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

    async fn teach(&self, id: &str) {
        if let Some(member) = self.members.get(id) {
            member.start_teaching();
        }
    }
}
