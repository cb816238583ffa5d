//! The binary as a process.

use crate::until;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A command line, free of settings that the tester's own environment may carry.
pub fn coinwire(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coinwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COINWIRE_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").args(args).stdin(Stdio::null());
    command
}

/// The same in a process that may have no more than so many files open, and no more than 200 unless it asks for more.
pub fn coinwire_with_files(hard_limit: u32, args: &[&str]) -> Command {
    let plain = coinwire(args);
    let limited = format!("ulimit -Sn 200 && ulimit -Hn {hard_limit} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(limited).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A command on the store of the demo in `dir`, which may be running.
pub fn demo_store_command(dir: &Path, args: &[&str]) -> Command {
    let mut command = coinwire(args);
    command.env("COINWIRE_DATABASE_URL", format!("sqlite://{}/coinwire.db", dir.display()));
    command.env("COINWIRE_SECRET_KEY_FILE", dir.join("coinwire.key"));
    command
}

/// What a command that ended by itself left behind.
#[derive(Debug)]
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs to the end, with `input` on standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Ended {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("coinwire runs");
    // A command that reads nothing may have closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs to the end.
pub fn run(args: &[&str]) -> Ended {
    run_with_input(&mut coinwire(args), "")
}

/// A command that runs until it is ended; killed when dropped.
pub struct Running {
    child: Child,
    dir: TempDir,
}

impl Running {
    /// Starts it in a directory of its own.
    pub fn start(command: &mut Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("coinwire runs");
        Self { child, dir }
    }

    /// The same with its log going elsewhere.
    pub fn start_with_log(command: &mut Command, log: impl Into<Stdio>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stdout = File::create(dir.path().join("stdout")).unwrap();
        let child = command.stdout(stdout).stderr(log).spawn().expect("coinwire runs");
        // What the command holds open would keep the log from ending.
        command.stderr(Stdio::null());
        Self { child, dir }
    }

    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Fails if it has ended by itself.
    pub fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("coinwire ended ({status}):\n{}{}", self.stdout(), self.stderr());
        }
    }

    /// Asks it to end as a service manager does, and tells how it ended and how long it took.
    pub async fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal("TERM");
        let status = until("coinwire to end", async || self.child.try_wait().unwrap()).await;
        (status, begun.elapsed())
    }

    /// Sends it a signal.
    pub fn signal(&mut self, name: &str) {
        self.must_run();
        let kill = format!("kill -{name} \"$0\"");
        let sent = Command::new("sh").args(["-c", &kill, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Takes its life without a warning, as `kill -9` and a power cut do.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path under a regular file: not even root can make a directory there.
pub fn unwritable_dir(dir: &Path) -> PathBuf {
    let file = dir.join("file");
    std::fs::write(&file, "not a directory").unwrap();
    file.join("data")
}
