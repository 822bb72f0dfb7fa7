//! Descriptors by number, and sockets of a service manager.

use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::stand::{SKEP, Scratch, containers, ended};

/// Runs a shell script with `$0` as the launcher and a file as input.
fn shell(script: &str, stdin: impl Into<Stdio>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, SKEP]).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(script: &str) -> crate::stand::Ran {
    ended(shell(script, Stdio::null()).spawn().unwrap())
}

#[test]
fn descriptors_arrive_under_their_numbers() {
    let Some(_guard) = containers("descriptors by number") else { return };
    let said = |script: &str| {
        let ran = ran(script);
        assert_eq!(ran.code, Some(0), "{script}: {ran:?}");
        ran.stdout
    };
    let file = Scratch::new("fd").file("text", "of a file\n");
    std::fs::create_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
    std::fs::write(&file, "of a file\n").unwrap();
    assert_eq!(said(&format!("exec 5<{file}; exec $0 run -q --fd=5 -- cat /dev/fd/5")), "of a file\n");
    let swapped = format!(
        "exec 7<{file} 8<<X\nof a text\nX\nexec $0 run -q --fd=7:8 --fd=8:7 -- sh -c 'cat <&7; cat <&8; ls /proc/self/fd | wc -l'"
    );
    // 0, 1, 2, 7, 8 and the directory.
    assert_eq!(said(&swapped), "of a text\nof a file\n6\n");
    assert_eq!(said(&format!("$0 run --console=pipe --fd=0:3 -- sh -c 'cat <&3' <{file}")), "of a file\n");
    let plan = said("$0 plan --fd=5:6 --json true");
    assert!(plan.contains("descriptor 6"), "{plan}");
    std::fs::remove_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();

    for (script, parts) in [
        ("exec $0 run --fd=99 true", &["--fd=:", "descriptor 99", "99<FILE"][..]),
        ("exec 5</; exec $0 run --fd=5 true", &["descriptor 5", "--fd=", "bind it instead"]),
        ("exec 5</dev/null 6</dev/null; exec $0 run --fd=5 --fd=6:5 true", &["--fd=:", "5", "leave one of them out"]),
        ("exec 5</dev/null; exec $0 run --fd=5:999999 true", &["descriptor 999999", "--fd=", "limit of open files"]),
    ] {
        let ran = ran(script);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{ran:?}");
    }
}

const SERVER: &str = r#"perl -e 'open($s, "+<&=", 3) or die; accept($c, $s) or die "accept: $!";
    print $c "pid $$ of $ENV{LISTEN_PID}, $ENV{LISTEN_FDS} named $ENV{LISTEN_FDNAMES}"'"#;

/// As `systemd` activates a service: a listening socket as descriptor 3.
fn activated(variables: &str, options: &str, path: &std::path::Path) -> Result<String, crate::stand::Ran> {
    let listener = UnixListener::bind(path).unwrap();
    let script = format!(
        "exec 3<&0 </dev/null; export {variables}; exec $0 run -q {options} -- sh -c '{}'",
        SERVER.replace('\'', "'\\''")
    );
    let child = shell(&script, std::os::fd::OwnedFd::from(listener)).spawn().unwrap();
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut said = String::new();
    let heard = client.read_to_string(&mut said);
    let ran = ended(child);
    match heard {
        Ok(_) if ran.code == Some(0) => Ok(said),
        _ => Err(ran),
    }
}

#[test]
fn sockets_of_a_service_manager_reach_the_command() {
    let Some(_guard) = containers("socket activation") else { return };
    if Command::new("perl").arg("-v").output().is_err() {
        return eprintln!("SKIP: socket activation: perl is not installed");
    }
    let tree = Scratch::new("activation");
    let path = |name: &str| tree.path().join(name);
    // The shell is the command, and perl its child.
    let said = activated("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web", "", &path("a")).unwrap();
    assert!(said.ends_with(" of 2, 1 named web"), "{said}");
    let said = activated("LISTEN_PID=$$ LISTEN_FDS=1", "--as-pid2=no", &path("b")).unwrap();
    assert!(said.ends_with(" of 1, 1 named "), "{said}");

    // Of another process: not for this one.
    let other = activated("LISTEN_PID=1 LISTEN_FDS=1", "", &path("c")).unwrap_err();
    assert_ne!(other.code, Some(0), "{other:?}");
    for (variables, options, part) in [
        ("LISTEN_PID=$$ LISTEN_FDS=x", "", "LISTEN_FDS"),
        ("LISTEN_PID=$$ LISTEN_FDS=257", "", "up to 256"),
        ("LISTEN_PID=$$ LISTEN_FDS=40", "", "descriptor 4"),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b", "", "LISTEN_FDNAMES"),
        ("LISTEN_PID=$$ LISTEN_FDS=1", "--fd=0:3", "choose another number"),
    ] {
        let ran = ran(&format!("exec 3</dev/null; export {variables}; exec $0 run {options} true"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(part) && ran.stderr.contains("; "), "{part}: {ran:?}");
    }
}
