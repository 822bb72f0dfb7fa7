//! Section 2: descriptors, and the embedder's own executable.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::Command as Process;
use std::time::{Duration, Instant};

use skep::spec::Init;
use skep::{Command, Stdio};
use skep_tests::{Scratch, everywhere, has, skip, turn_to_start};

/// Of every process that is seen inside: its executable, and whether it can be written.
const EXECUTABLES: &str = "for p in /proc/[0-9]*; do echo \"$(readlink $p/exe)\";
    (exec 9>>$p/exe) 2>/dev/null && echo WRITABLE; done; true";

/// That what the host runs is not among what is seen.
#[track_caller]
fn are_of_the_container(said: &str, place: &str) {
    for line in said.lines() {
        assert!(line.is_empty() || line.starts_with("/usr/"), "{line} in a {place}");
        assert!(!line.contains("deleted") && !line.contains("memfd"), "{line} in a {place}");
    }
}

fn own_executable() -> u64 {
    let mut hash = DefaultHasher::new();
    std::fs::read(std::env::current_exe().unwrap()).unwrap().hash(&mut hash);
    hash.finish()
}

#[test]
fn row_023_executables_of_the_host_are_out_of_reach() {
    let Some(_turn) = turn_to_start() else { return };
    let before = own_executable();
    for (place, said) in everywhere(EXECUTABLES) {
        assert!(said.contains("/usr/bin"), "{said} in a {place}");
        are_of_the_container(&said, place);
    }
    // A payload that looks all the time, also while processes are brought in;
    // ten times at least, however slow the machine.
    let looks = format!("n=0; until [ -e /tmp/enough ] && [ $n -ge 10 ]; do {EXECUTABLES}; n=$((n+1)); done");
    for init in [Init::Stub, Init::Payload] {
        let mut command = Command::new("sh");
        command.args(["-c", &looks]).init(init);
        let mut container = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = container.stdout.take().unwrap();
        let reader = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            assert!(container.exec("true").status().unwrap().success());
        }
        assert!(container.exec("touch").arg("/tmp/enough").status().unwrap().success());
        container.wait().unwrap();
        let said = reader.join().unwrap();
        assert!(said.lines().count() >= 10, "{said}");
        are_of_the_container(&said, "payload that looks");
    }
    assert_eq!(own_executable(), before);
}

#[test]
fn row_101_the_stub_init_runs_from_a_sealed_file() {
    let Some(_turn) = turn_to_start() else { return };
    let container = Command::new("sleep").arg("1000").spawn().unwrap();
    let executable = format!("/proc/{}/exe", container.id());
    assert!(std::fs::read_link(&executable).unwrap().to_string_lossy().starts_with("/memfd:"), "a file with a name");
    let file = match std::fs::File::open(&executable) {
        Ok(file) => file,
        // Yama, or another rule for who looks at whom.
        Err(error) => return skip(&format!("{executable} cannot be looked at: {error}")),
    };
    let seals = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GET_SEALS).unwrap();
    // F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE
    assert_eq!(seals & 0xf, 0xf, "{seals:#x}");
}

#[test]
fn row_028_default_streams_are_no_files_of_the_host() {
    let Some(_turn) = turn_to_start() else { return };
    for (place, said) in everywhere("readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2") {
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "/dev/null"), "{said} in a {place}");
        // readlink's own first is the test's pipe.
        assert!(lines[1..].iter().all(|line| line.starts_with("pipe:[")), "{said} in a {place}");
    }
    // An embedder whose own streams are files.
    let scratch = Scratch::new();
    let file = || std::fs::File::create(scratch.path().join("out")).unwrap();
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", "descriptors::default_streams", "--ignored"]).stdin(std::process::Stdio::null());
    assert!(process.stdout(file()).stderr(file()).status().unwrap().success());
    assert!(std::fs::read_to_string(scratch.path().join("out")).unwrap().contains("1 passed"));
}

#[test]
fn row_085_the_callers_terminal_is_not_passed_on() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("script") {
        return skip("script(1) is not installed");
    }
    // The embedder's three streams and controlling terminal are one of the host.
    let program = std::env::current_exe().unwrap();
    let command = format!(
        "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && {} --exact descriptors::default_streams --ignored",
        program.display()
    );
    let output = Process::new("script").args(["-qec", &command, "/dev/null"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by row_028_… and row_085_…, in a process of its own"]
fn default_streams() {
    let scratch = Scratch::new();
    let out = scratch.directory("out");
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    for init in [Init::Stub, Init::Payload] {
        let mut command = Command::new("sh");
        let script =
            "for n in 0 1 2; do seen=\"$seen $(readlink /proc/$$/fd/$n)\"; [ -t $n ] && seen=\"$seen TERMINAL\"; done
            (: </dev/tty) 2>/dev/null && seen=\"$seen TERMINAL\"; echo \"$seen\" >/out/$0";
        let name = format!("{init:?}");
        let status = command.args(["-c", script, &name]).bind(&out, "/out").init(init).status().unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), " /dev/null /dev/null /dev/null\n");
    }
    let container = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut process = container.exec("sh");
    let status =
        process.args(["-c", "[ ! -t 0 ] && [ ! -t 1 ] && [ ! -t 2 ] && ! (: </dev/tty) 2>/dev/null"]).status().unwrap();
    assert!(status.success(), "a further process");
}
