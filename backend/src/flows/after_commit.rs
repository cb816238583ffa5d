//! What is told once a step is committed: modules, integrators, pages.

use crate::{
    Context,
    flows::publish_command::send_command,
    ids::{MachineId, OperatorId},
    integrations::integrators::publish_sale_to_integrators,
    live::{LiveEvent, LiveKind},
    modules::{command, rows::wired_machine},
    sales::sale,
};

/// Tells an operator that a person should look.
pub(crate) fn alarm(ctx: &Context, operator_id: OperatorId, machine_id: Option<MachineId>, message: impl Into<String>) {
    let message = message.into();
    let machine = machine_id.map(|id| id.0);
    tracing::warn!(operator_id = operator_id.0, machine_id = machine, message, "alarm");
    metrics::counter!("coinwire_alarms_total").increment(1);
    ctx.live.emit(LiveEvent { operator_id, machine_id, what: LiveKind::Alarm { message }, at_ms: ctx.wall_ms() });
}

/// What is to be published after the commit.
#[derive(Default)]
pub(crate) struct AfterCommit {
    pub(super) commands: Vec<command::Model>,
    pub(super) sales: Vec<sale::Model>,
    pub(super) modules: Vec<String>,
    pub(super) alarms: Vec<(OperatorId, Option<MachineId>, String)>,
}

impl AfterCommit {
    /// A person of that operator should look.
    pub fn alarm(&mut self, operator_id: OperatorId, machine_id: Option<MachineId>, message: impl Into<String>) {
        self.alarms.push((operator_id, machine_id, message.into()));
    }

    /// Something of a sale changed beside its state.
    pub fn sale(&mut self, sale: sale::Model) {
        self.sales.push(sale);
    }

    /// A command was queued.
    pub fn command(&mut self, command: command::Model) {
        self.commands.push(command);
    }

    /// A command to a module, or its acknowledgement, changed.
    pub fn module(&mut self, module_id: String) {
        self.modules.push(module_id);
    }
}

/// Publishes what a committed transaction left to publish.
pub(crate) async fn publish_after_commit(ctx: &Context, after: AfterCommit) {
    for command in &after.commands {
        send_command(ctx, command).await;
    }
    for sale in after.sales {
        let state = sale.state;
        ctx.live.emit(LiveEvent {
            operator_id: sale.operator_id,
            machine_id: Some(sale.machine_id),
            what: LiveKind::Sale { token: sale.token.clone(), state },
            at_ms: ctx.wall_ms(),
        });
        publish_sale_to_integrators(ctx, &sale).await;
    }
    for module_id in &after.modules {
        notify_module_changed(ctx, module_id).await;
    }
    for (operator_id, machine_id, message) in after.alarms {
        alarm(ctx, operator_id, machine_id, message);
    }
}

/// Emits a live event: a command to a module, or its acknowledgement, changed.
pub(crate) async fn notify_module_changed(ctx: &Context, module_id: &str) {
    let machine = wired_machine(ctx.db.read(), module_id).await;
    // A watcher that misses this event gets the next one, or reloads.
    let Ok(Some(machine)) = machine else { return };
    ctx.live.emit(LiveEvent {
        operator_id: machine.operator_id,
        machine_id: Some(machine.id),
        what: LiveKind::Module,
        at_ms: ctx.wall_ms(),
    });
}
