//! A bench: the board with its image, its console in our hands, a modem plugged in.

use module_rig::{
    board::Board,
    console::Console,
    modem::{Family, Modem, Plan},
};
use protocol::{ModuleId, ModuleSecret, messages::Settings};
use std::{net::SocketAddr, path::PathBuf};

/// The board with its console.
pub struct TestBench {
    pub board: Board,
    pub console: Console,
}

/// The image to run.
pub fn image() -> PathBuf {
    std::env::var_os("COINWIRE_IMAGE").expect("COINWIRE_IMAGE names the image: use `cargo xtask rig`").into()
}

impl TestBench {
    /// Powers up a board; `memory` is what its flash holds.
    pub fn start(family: Family, plan: Plan, memory: Option<&[u8]>) -> Self {
        let mut board = Board::start(&image(), Modem::start(family, plan, 1), memory).unwrap();
        let console = Console::new(board.console().unwrap());
        Self { board, console }
    }

    /// The same, with an identity and a server, restarted.
    pub async fn provisioned(
        family: Family,
        plan: Plan,
        (id, secret): &(ModuleId, ModuleSecret),
        server: SocketAddr,
    ) -> Self {
        let mut it = Self::start(family, plan, None);
        it.console.provision(*id, secret, &server.ip().to_string(), server.port()).await.unwrap();
        it.console.reboot().await.unwrap();
        it
    }

    /// Settings with a pace of credit pulses.
    pub async fn pace(&mut self, width_ms: u16, gap_ms: u16) {
        let mut settings = Settings { version: 1, ..Settings::default() };
        settings.profile.credit_width_ms = width_ms;
        settings.profile.credit_gap_ms = gap_ms;
        self.console.settings(settings).await.unwrap();
    }

    /// Cuts the power, and gives it back after a while; the flash keeps what it held.
    pub async fn power_cycle(&mut self, dark: std::time::Duration) {
        let memory = self.board.cut_power().unwrap();
        tokio::time::sleep(dark).await;
        self.board.power_up(Some(&memory)).unwrap();
        self.console = Console::new(self.board.console().unwrap());
    }
}

impl Drop for TestBench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let transcript = self.board.modem.transcript();
            let tail: Vec<&str> = transcript.lines().rev().take(25).collect();
            eprintln!("the modem's line:");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
            eprintln!("{:?}", self.board.modem.counters());
        }
    }
}
