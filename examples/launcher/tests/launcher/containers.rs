//! Containers that run, from a second process: `list`, `status`, `exec`, `stop`, `kill`.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::stand::{CONTAINERS, Ran, Scratch, command, containers, ended, send, unique, until};

/// Leaves the test where no container can be started.
macro_rules! needs_containers {
    () => {
        let Some(_containers) = containers(module_path!()) else { return };
    };
}

/// Where this user's containers are found: root's is always the same.
pub(crate) struct Registry(Option<Scratch>);

impl Registry {
    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        self.0.iter().filter_map(|scratch| Some(("XDG_RUNTIME_DIR", scratch.path().to_str()?))).collect()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = command(words);
        command.envs(self.variables());
        command
    }

    pub(crate) fn skep(&self, words: &[&str]) -> Ran {
        ended(self.command(words).spawn().unwrap())
    }
}

/// A container that `skep run` runs in the background.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) registry: Registry,
    /// Of `skep run`; none once it was waited for.
    launcher: Option<Child>,
}

impl Running {
    pub(crate) fn registry(test: &str) -> Option<Registry> {
        if nix::unistd::geteuid().is_root() {
            return Some(Registry(None));
        }
        let scratch = Scratch::new(&format!("run-{test}"));
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Some(Registry(Some(scratch)))
    }

    /// Starts a script of the shell, and waits until it says `up`: its traps are set.
    fn start_script(test: &str, name: &str, script: &str) -> Option<Self> {
        let mut running = Self::start(test, name, &["sh", "-c", script])?;
        until(running.launcher.as_mut().unwrap(), "up\n");
        Some(running)
    }

    /// Starts `command` and waits until it is found.
    pub(crate) fn start(test: &str, name: &str, command: &[&str]) -> Option<Self> {
        let (name, registry) = (unique(name), Self::registry(test)?);
        let words: Vec<&str> = ["run", "-M", &name, "--"].into_iter().chain(command.iter().copied()).collect();
        let launcher = registry.command(&words).spawn().unwrap();
        let running = Self { name, registry, launcher: Some(launcher) };
        let begin = Instant::now();
        while running.skep(&["status", &running.name]).code != Some(0) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} is not found", running.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(running)
    }

    pub(crate) fn skep(&self, words: &[&str]) -> Ran {
        self.registry.skep(words)
    }

    /// What `skep run` came to.
    fn ended(mut self) -> Ran {
        ended(self.launcher.take().unwrap())
    }

    fn launcher(&self) -> &Child {
        self.launcher.as_ref().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut launcher) = self.launcher.take() {
            let _ = launcher.kill();
            let _ = launcher.wait();
        }
    }
}

#[test]
fn what_runs_is_listed_shown_and_stopped() {
    needs_containers!();
    let script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let Some(running) = Running::start_script("what_runs", "listed", script) else { return };
    let listed = running.skep(&["list"]);
    let line = listed.stdout.lines().find(|line| line.starts_with(&running.name)).unwrap();
    assert!(listed.stdout.starts_with("NAME") && !running.skep(&["list", "--no-legend"]).stdout.contains("NAME"));
    let [_, state, pid, since, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert!(line.ends_with("  /") && since.ends_with('Z') && since.len() == 20, "{line}");
    let json: serde_json::Value = serde_json::from_str(&running.skep(&["list", "--json"]).stdout).unwrap();
    let json = json.as_array().unwrap().iter().find(|one| one["machine"] == running.name.as_str()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 60..=now).contains(&json["since"].as_u64().unwrap()) && json["root"] == "/", "{json}");
    assert!(listed.code == Some(0) && state == "running" && pid.parse::<u32>().is_ok(), "{line}");
    let status = running.skep(&["status", &running.name]);
    for row in [format!("machine    {}", running.name), format!("process    {pid}"), "state      running".to_owned()] {
        assert!(status.stdout.lines().any(|line| line == row), "{row}: {status:?}");
    }
    assert_eq!((status.code, status.stderr.as_str()), (Some(0), ""));
    // The stub init, the shell below it, and what that runs just now.
    let tree = status.stdout.split("\n\n").nth(1).unwrap();
    assert!(tree.starts_with(&format!("  {pid} ")) && tree.contains("└─") && tree.contains(" sh -c trap"), "{tree}");
    let stopped = running.skep(&["stop", &running.name]);
    assert_eq!((stopped.code, stopped.stdout.as_str(), stopped.stderr.as_str()), (Some(0), "", ""));
    for verb in ["status", "stop", "kill"] {
        let ran = running.skep(&[verb, &running.name]);
        assert!(ran.code == Some(1) && ran.stderr.contains(&running.name), "{verb} {ran:?}");
    }
    assert!(!running.skep(&["list"]).stdout.contains(&running.name));
    // It ended by its own code, and `skep run` says so.
    let ran = running.ended();
    assert!(ran.code == Some(5) && ran.stderr.ends_with("failed: exit code 5\n"), "{ran:?}");
}

#[test]
fn what_hears_no_signal_is_killed_in_the_end() {
    needs_containers!();
    let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let Some(running) = Running::start_script("what_hears_no_signal", "deaf", script) else { return };
    let begin = Instant::now();
    assert_eq!(running.skep(&["stop", "--timeout=0.3", &running.name]).code, Some(0));
    assert!((Duration::from_millis(300)..Duration::from_secs(9)).contains(&begin.elapsed()));
    assert_eq!(running.ended().code, Some(255));
}

#[test]
fn a_signal_is_the_commands_and_none_is_the_end_of_all() {
    needs_containers!();
    let script = "trap 'exit 6' USR1; echo up; while :; do sleep 0.05; done";
    let Some(running) = Running::start_script("a_signal", "signalled", script) else { return };
    let odd = running.skep(&["kill", &running.name, "SIGUSR"]);
    assert!(odd.code == Some(1) && odd.stderr.contains("did you mean USR1 or USR2?"), "{odd:?}");
    assert_eq!(running.skep(&["kill", &running.name, "USR1"]).code, Some(0));
    assert_eq!(running.ended().code, Some(6));
    let Some(running) = Running::start_script("a_signal", "killed", "trap '' TERM; echo up; sleep 1000") else {
        return;
    };
    assert_eq!(running.skep(&["kill", &running.name]).code, Some(0));
    let ran = running.ended();
    assert!(ran.code == Some(255) && ran.stderr.ends_with("failed: signal 9\n"), "{ran:?}");
}

#[test]
fn a_signal_is_for_one_or_for_all() {
    needs_containers!();
    let script = "trap 'sleep 0.5; echo one; exit 6' USR1; \
                  sh -c 'trap \"echo other; exit 0\" USR1; echo up; while :; do sleep 0.05; done' & \
                  while :; do sleep 0.05; done";
    let Some(running) = Running::start_script("for_all", "all", script) else { return };
    let name = running.name.as_str();
    let both = running.skep(&["kill", "--signal=TERM", name, "TERM"]);
    assert!(both.code == Some(1) && both.stderr.contains("leave one of them out"), "{both:?}");
    assert_eq!(running.skep(&["kill", "-s", "USR1", "--whom=all", name]).code, Some(0));
    let ran = running.ended();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(6), "other\none\n"));
}

/// As `machinectl(1)` asks: an init takes it, a command below a stub init has none.
#[test]
fn an_init_is_asked_to_power_off_and_to_reboot() {
    needs_containers!();
    for (verb, signal) in [("poweroff", "RTMIN+4"), ("reboot", "INT")] {
        let (name, Some(registry)) = (unique(verb), Running::registry(verb)) else { return };
        let script =
            format!("trap 'exit 9' {}; echo up; while :; do sleep 0.05; done", signal.replace("RTMIN+4", "38"));
        let words = ["run", "-M", &name, "--as-pid2=no", "--", "sh", "-c", &script];
        let mut launcher = registry.command(&words).spawn().unwrap();
        until(&mut launcher, "up\n");
        let running = Running { name, registry, launcher: Some(launcher) };
        assert_eq!(running.skep(&[verb, &running.name]).code, Some(0));
        assert_eq!(running.ended().code, Some(9), "{verb}");
    }
    let script = "trap 'exit 5' TERM; trap 'exit 6' INT; echo up; while :; do sleep 0.05; done";
    let Some(running) = Running::start_script("an_init", "no-init", script) else { return };
    let ran = running.skep(&["reboot", &running.name]);
    assert!(
        ran.code == Some(1) && ran.stderr.contains("is no init, and knows no reboot; stop it (skep stop"),
        "{ran:?}"
    );
    assert_eq!(running.skep(&["poweroff", &running.name]).code, Some(0));
    assert_eq!(running.ended().code, Some(5));
}

#[test]
fn a_shell_is_the_users_own() {
    needs_containers!();
    let Some(running) = Running::start("a_shell", "shell", &["sleep", "1000"]) else { return };
    let name = running.name.as_str();
    // Without a terminal it reads its commands.
    let mut shell = running.registry.command(&["shell", name]).stdin(Stdio::piped()).spawn().unwrap();
    let script = b"echo $0 $HOME $USER $SHELL; pwd; exit 4\n";
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), script).unwrap();
    let ran = ended(shell);
    let says: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        ran.code == Some(4) && says[0].ends_with("sh /root root /bin/bash") || says[0].contains(" /root root /"),
        "{ran:?}"
    );
    let ran = running.skep(&["shell", "--chdir=/usr", "-E", "A=b", name, "sh", "-c", "echo $A $PWD"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "b /usr\n"), "{ran:?}");
    let ran = running.skep(&["shell", &format!("no-such-user@{name}")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is not in the container's /etc/passwd"), "{ran:?}");
    if nix::unistd::geteuid().is_root() {
        let ran = running.skep(&["shell", &format!("nobody@{name}"), "sh", "-c", "id -un; echo $HOME; pwd"]);
        let says: Vec<&str> = ran.stdout.lines().collect();
        // Its home is not there.
        assert!(ran.code == Some(0) && says[0] == "nobody" && says[1] != "/root" && says[2] == "/", "{ran:?}");
    }
}

/// What a shell proposes for a container's name is what runs.
#[test]
fn names_are_completed() {
    needs_containers!();
    let Some(running) = Running::start("names_are_completed", "complete", &["sleep", "1000"]) else { return };
    let script = running.skep(&["completion", "bash"]).stdout;
    let bin = std::path::Path::new(crate::stand::SKEP).parent().unwrap().to_str().unwrap().to_owned();
    for verb in ["status", "shell", "exec", "logs", "poweroff", "stop"] {
        let line = format!(
            "compopt() {{ :; }}; PATH={bin}:$PATH; {script}\nCOMP_WORDS=(skep {verb} complete-); COMP_CWORD=2; _skep; echo ${{COMPREPLY[@]}}"
        );
        let mut bash = Command::new("bash");
        let Ok(ran) = bash.args(["--norc", "-c", &line]).envs(running.registry.variables()).output() else {
            return eprintln!("SKIP names_are_completed: there is no bash");
        };
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(said.split_whitespace().any(|word| word == running.name), "{verb}: {said}");
    }
}

#[test]
fn a_further_command_is_one_of_the_container() {
    needs_containers!();
    let Some(running) = Running::start("a_further_command", "exec", &["sleep", "1000"]) else { return };
    let name = running.name.as_str();
    let text = |words: &[&str]| {
        let ran = running.skep(&["exec"].iter().chain(words).copied().collect::<Vec<_>>());
        assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{words:?} {ran:?}");
        ran.stdout
    };
    assert_eq!(text(&[name, "uname", "-n"]), format!("{name}\n"));
    assert_eq!(text(&["--chdir=/usr", "-E", "A=a b", name, "--", "sh", "-c", "pwd; echo $A"]), "/usr\na b\n");
    assert_eq!(text(&[name, "echo", "--chdir=/", "--", "-x"]), "--chdir=/ -- -x\n", "what follows is the command's");
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(running.skep(&["exec", name, "sh", "-c", script]).code, Some(code), "{script}");
    }
    let ran = running.skep(&["exec", name, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    for (words, says) in [
        (&["exec", name, "/no/such"][..], "execute /no/such: not found in container"),
        (&["exec", name], "the command is missing; write skep exec NAME -- COMMAND"),
        (&["exec"], "the container's name is missing; write skep exec NAME, see skep list"),
        (&["exec", "--uid=nobody-at-all", name, "id"], "is not in the container's /etc/passwd; give its UID"),
        (&["exec", "no-such-container", "id"], "no registered container no-such-container runs"),
        (&["exec", "a b", "id"], "machine name"),
    ] {
        let ran = running.skep(words);
        assert!(ran.code == Some(1) && ran.stderr.contains(says), "{words:?} {ran:?}");
    }
    assert_eq!(running.skep(&["status", name]).code, Some(0), "none of this did anything to it");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(text(&["--uid=33:7", name, "sh", "-c", "id -u; id -g; id -G"]), "33\n7\n7\n");
    }
}

#[test]
fn the_streams_of_a_further_command_are_carried() {
    needs_containers!();
    let Some(running) = Running::start("the_streams", "exec-streams", &["sleep", "1000"]) else { return };
    let input: Vec<u8> = (0..300_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for console in ["relay", "pipe"] {
        let console = format!("--console={console}");
        let mut launcher = running.registry.command(&["exec", &console, &running.name, "cat"]);
        let mut child = launcher.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::io::Write::write_all(&mut stdin, &input).unwrap();
                drop(stdin);
            });
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success() && output.stdout == input, "{console}");
    }
}

#[test]
fn a_further_command_ends_with_its_container_and_says_so() {
    needs_containers!();
    let Some(running) = Running::start("a_further_command_ends", "exec-ends", &["sleep", "1000"]) else { return };
    let mut exec =
        running.registry.command(&["exec", &running.name, "sh", "-c", "echo up; exec sleep 1000"]).spawn().unwrap();
    crate::stand::until(&mut exec, "up\n");
    assert_eq!(running.skep(&["stop", &running.name]).code, Some(0));
    let ran = ended(exec);
    let says = format!("skep: the container {} has ended, and with it this command\n", running.name);
    assert_eq!((ran.code, ran.stderr), (Some(137), says));
}

/// `skep exec` is stopped as `skep run` is: in order.
#[test]
fn a_further_command_is_stopped_by_its_launcher() {
    needs_containers!();
    let Some(running) = Running::start("a_further_command_is_stopped", "exec-stop", &["sleep", "1000"]) else { return };
    let script = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let mut exec = running.registry.command(&["exec", &running.name, "sh", "-c", script]).spawn().unwrap();
    crate::stand::until(&mut exec, "up\n");
    send(&exec, Signal::SIGINT);
    let ran = ended(exec);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(9), "bye\n"));
    assert_eq!(running.skep(&["status", &running.name]).code, Some(0));
}

#[test]
fn a_name_is_one_containers_and_free_when_that_is_gone() {
    needs_containers!();
    let Some(running) = Running::start("a_name", "name", &["sleep", "1000"]) else { return };
    let name = running.name.clone();
    let second = running.skep(&["run", "-M", &name, "true"]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("a container of this name lives (from --machine=)"), "{second:?}");
    assert!(second.stderr.contains(&format!("skep stop {}", name)) || second.stderr.contains("skep stop NAME"));
    let near = running.skep(&["status", &name[..name.len() - 1]]);
    assert!(near.code == Some(1) && near.stderr.contains(&format!("did you mean {name}?")), "{near:?}");
    // A launcher that is killed leaves nothing that looks alive.
    send(running.launcher(), Signal::SIGKILL);
    let begin = Instant::now();
    while running.skep(&["run", "-q", "-M", &name, "true"]).code != Some(0) {
        assert!(begin.elapsed() < Duration::from_secs(60), "the name is not free");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!running.skep(&["list"]).stdout.contains(&name));
}

/// Nothing of an ordinary user is registered without a directory of its own.
#[test]
fn without_a_runtime_directory_the_remedy_names_it() {
    if nix::unistd::geteuid().is_root() {
        return eprintln!("SKIP without_a_runtime_directory: root has one");
    }
    let ran = ended(command(["status", "web"]).env_remove("XDG_RUNTIME_DIR").spawn().unwrap());
    assert!(ran.code == Some(1) && ran.stderr.contains("set XDG_RUNTIME_DIR"), "{ran:?}");
    let ran = ended(command(["list"]).env_remove("XDG_RUNTIME_DIR").spawn().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
}

#[test]
fn what_was_left_is_removed_and_named() {
    if containers("what_was_left").is_none() {
        return;
    }
    // Another test's `skep gc` could be faster.
    let _alone = CONTAINERS.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(running) = Running::start("gc", "gc", &["sleep", "1000"]) else { return };
    let base = running.registry.variables().first().map_or("/run", |(_, base)| base).to_owned();
    let (old, new) = (unique("gc-old"), unique("gc-new"));
    for name in [&old, &new] {
        std::fs::write(format!("{base}/skep/{name}"), "{").unwrap();
    }
    let file = std::fs::File::options().write(true).open(format!("{base}/skep/{old}")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    let said = running.skep(&["gc"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains(&format!("removed entry {old}\n")), "{}", said.stdout);
    for kept in [&new, &running.name] {
        assert!(!said.stdout.contains(kept.as_str()), "{}", said.stdout);
        assert!(std::path::Path::new(&format!("{base}/skep/{kept}")).exists(), "{kept}");
    }
    std::fs::remove_file(format!("{base}/skep/{new}")).unwrap();
    let said = running.skep(&["gc", "--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap().is_array(), "{}", said.stdout);
    assert!(running.skep(&["gc", "more"]).stderr.contains("one word too many"));
}
