//! A Debian tree with systemd as process 1.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stand::{SKEP, debian, groups, skip, turn, until};

/// A machine that boots, and the service manager that it is told of to.
pub(crate) struct Machine {
    pub(crate) name: String,
    child: Child,
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
}

impl Machine {
    pub(crate) fn boot(tree: &Path, words: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("boot-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("{name}.notify"));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let log = std::fs::File::create(std::env::temp_dir().join(format!("{name}.log"))).unwrap();
        let child = Command::new(SKEP)
            .args(["nspawn", "-b", "--notify-ready=yes", "-M", &name, "-D"])
            .arg(tree)
            .args(words)
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { name, child, socket, path, heard: Vec::new() }
    }

    fn log(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{}.log", self.name))
    }

    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            self.heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    }

    pub(crate) fn until_heard(&mut self, word: &str) {
        let said = until(120, || {
            self.listen();
            self.heard.iter().any(|text| text == word) || self.child.try_wait().unwrap().is_some()
        });
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        assert!(said && self.heard.iter().any(|text| text == word), "{word}: {:?}\n{log}", self.heard);
    }

    /// Its first process, as a service manager is told of it.
    pub(crate) fn leader(&self) -> u32 {
        let said = self.heard.iter().find_map(|text| text.split_once("X_NSPAWN_LEADER_PID="));
        said.and_then(|(_, pid)| pid.trim().parse().ok()).unwrap()
    }

    pub(crate) fn exec(&self, words: &[&str]) -> String {
        let output = Command::new(SKEP).args(["exec", &self.name, "--"]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim()
    }

    pub(crate) fn ask_to_stop(&self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    }

    /// Stops it as a service manager would; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.end()
    }

    pub(crate) fn end(&mut self) -> Option<i32> {
        let mut status = None;
        let ended = until(120, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it goes on\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        self.listen();
        status.unwrap().code()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.log());
    }
}

fn tree() -> Option<PathBuf> {
    debian().map_err(|why| skip(&why)).ok()
}

#[test]
fn a_machine_runs_and_stops_in_every_mode() {
    let _turn = turn();
    let Some(tree) = tree() else { return };
    let before = groups();
    for words in [
        &["--ephemeral"][..],
        &["--ephemeral", "--private-network"],
        &["--ephemeral", "--private-users=pick"],
        &["--ephemeral", "--private-users=pick", "--private-network"],
        &["--volatile=overlay"],
        &["--volatile=overlay", "--private-users=pick"],
        &["--volatile=state"],
        // Without answers to its questions a first boot waits for them.
        &["--volatile=yes", "systemd.firstboot=no"],
        &["--read-only"],
    ] {
        let mut machine = Machine::boot(&tree, words);
        machine.until_heard("READY=1");
        let state = machine.exec(&["systemctl", "is-system-running", "--wait"]);
        let failed = machine.exec(&["systemctl", "--failed", "--plain", "--no-legend"]);
        assert_eq!(state, "running", "{words:?}: {failed}");
        assert_eq!(machine.stop(), Some(0), "{words:?}");
        let left = until(20, || groups() == before);
        assert!(left, "{words:?} leaves {:?}", groups());
    }
}

#[test]
fn a_service_manager_is_told_what_it_is_told_by_the_original() {
    let _turn = turn();
    let Some(tree) = tree() else { return };
    let mut machine = Machine::boot(&tree, &["--ephemeral"]);
    machine.until_heard("READY=1");
    assert!(machine.heard[0].starts_with("STATUS=Container running.\nX_NSPAWN_LEADER_PID="), "{:?}", machine.heard);
    let leader = machine.leader();
    let command = std::fs::read_to_string(format!("/proc/{leader}/cmdline")).unwrap();
    assert!(command.starts_with("/usr/lib/systemd/systemd\0"), "{command:?}");
    // systemd says READY=1 once it runs, and how it is all along.
    assert!(machine.heard.iter().any(|text| text.starts_with("STATUS=Container running: ")), "{:?}", machine.heard);
    assert_eq!(machine.heard.iter().filter(|text| *text == "READY=1").count(), 1);
    assert_eq!(machine.stop(), Some(0));
    let last: Vec<&str> =
        machine.heard.iter().map(String::as_str).filter(|text| text.starts_with("STOPPING")).collect();
    assert_eq!(last, ["STOPPING=1", "STOPPING=1\nSTATUS=Terminating..."]);
}

#[test]
fn a_reboot_is_the_units_or_done_here_and_power_off_is_success() {
    let _turn = turn();
    let Some(tree) = tree() else { return };
    let mut machine = Machine::boot(&tree, &["--ephemeral", "--keep-unit"]);
    machine.until_heard("READY=1");
    machine.exec(&["systemctl", "reboot"]);
    assert_eq!(machine.end(), Some(133));
    assert_eq!(machine.heard.last().map(String::as_str), Some("STOPPING=1\nSTATUS=Restarting..."));

    let mut machine = Machine::boot(&tree, &["--ephemeral"]);
    machine.until_heard("READY=1");
    machine.exec(&["systemctl", "reboot"]);
    machine.until_heard("STOPPING=1\nSTATUS=Restarting...");
    machine.heard.clear();
    machine.until_heard("READY=1");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(machine.exec(&["systemctl", "is-system-running", "--wait"]), "running");
    machine.exec(&["systemctl", "poweroff"]);
    assert_eq!(machine.end(), Some(0));
}

/// Its console is closed, hung up and opened again several times on the way.
#[test]
fn the_console_of_a_machine_has_its_login_prompt() {
    let _turn = turn();
    let Some(tree) = tree() else { return };
    let mut machine = Machine::boot(&tree, &["--ephemeral"]);
    machine.until_heard("READY=1");
    let log = || std::fs::read_to_string(machine.log()).unwrap_or_default();
    assert!(until(60, || log().contains(" login: ")), "{}", log());
    assert_eq!(machine.stop(), Some(0));
}
