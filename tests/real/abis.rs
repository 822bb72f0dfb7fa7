//! Calls by another ABI, made by a program that is written here byte by byte: a
//! 32-bit ELF, and the same code as a 64-bit one, both with `int 0x80`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_arch = "x86_64")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep::seccomp::Arch;
use skep::spec::{Architecture, Denial, Family, Personality, Profile};
use skep::sys::Errno;
use skep::{Command, Outcome, Stdio};
use skep_tests::{Scratch, is_root, run, skip, turn_to_start};

/// Where the program lies in memory: below 4 GiB, for both.
const BASE: u32 = 0x0804_8000;
/// Where it keeps an answer, and three words for `socketcall`.
const ANSWER: u32 = BASE + 0x80;
const WORDS: u32 = BASE + 0x90;
const CODE: u32 = BASE + 0xc0;

/// A call: the number of 32-bit x86, and up to five arguments.
type Call = (u32, [u32; 5]);

/// A program that makes the calls, writes each answer as 32 bits, and exits.
/// Its instructions mean the same with 32 and with 64 bits.
fn program(bits: u32, calls: &[Call], words: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    let mut call = |number: u32, args: [u32; 5], keep: bool| {
        // mov $x, %ebx %ecx %edx %esi %edi %eax; int $0x80
        for (register, value) in [0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xb8].into_iter().zip(args.into_iter().chain([number]))
        {
            code.push(register);
            code.extend(value.to_le_bytes());
        }
        code.extend([0xcd, 0x80]);
        if keep {
            // mov $ANSWER, %ecx; mov %eax, (%ecx)
            code.push(0xb9);
            code.extend(ANSWER.to_le_bytes());
            code.extend([0x89, 0x01]);
        }
    };
    for (number, args) in calls {
        call(*number, *args, true);
        call(4, [1, ANSWER, 4, 0, 0], false);
    }
    call(1, [0; 5], false);

    let size = CODE - BASE + code.len() as u32;
    let mut file = Vec::from(*b"\x7fELF");
    file.extend([if bits == 32 { 1 } else { 2 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (machine, word) = if bits == 32 { (3_u16, 4) } else { (62, 8) };
    let wide = |file: &mut Vec<u8>, value: u32| file.extend(&u64::from(value).to_le_bytes()[..word]);
    let (header, entry) = if bits == 32 { (52_u16, 32_u16) } else { (64, 56) };
    file.extend(2_u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    wide(&mut file, CODE);
    wide(&mut file, header.into());
    wide(&mut file, 0);
    file.extend(0_u32.to_le_bytes());
    for half in [header, entry, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // One segment: the whole file, readable, writable, executable.
    file.extend(1_u32.to_le_bytes());
    if bits == 64 {
        file.extend(7_u32.to_le_bytes());
    }
    wide(&mut file, 0);
    wide(&mut file, BASE);
    wide(&mut file, BASE);
    wide(&mut file, size);
    wide(&mut file, size);
    if bits == 32 {
        file.extend(7_u32.to_le_bytes());
    }
    wide(&mut file, 0x1000);
    file.resize((WORDS - BASE) as usize, 0);
    words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.resize((CODE - BASE) as usize, 0);
    file.extend(code);
    file
}

/// Programs in a directory that is bound to `/srv`.
struct Programs(Scratch);

impl Programs {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn add(&self, name: &str, bits: u32, calls: &[Call], words: [u32; 3]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, program(bits, calls, words)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Path::new("/srv").join(name)
    }

    /// The command that runs one of them in a container.
    fn command(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.bind_ro(self.0.path(), "/srv");
        command
    }

    /// Whether this kernel runs 32-bit programs at all.
    fn run_here(&self) -> bool {
        let path = self.add("getpid", 32, &[GETPID], [0; 3]);
        let here = self.0.path().join(path.file_name().unwrap());
        match std::process::Command::new(here).output() {
            Ok(output) if output.status.success() => {
                assert!(answers(&output.stdout)[0] > 0);
                true
            }
            other => {
                skip(&format!("this kernel runs no 32-bit programs (IA32_EMULATION): {other:?}"));
                false
            }
        }
    }
}

fn answers(output: &[u8]) -> Vec<i32> {
    output.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect()
}

fn say(command: &mut Command) -> Vec<i32> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    answers(&output.stdout)
}

const SIGSYS: Option<u8> = Some(31);
const NEW_USER: u32 = 0x1000_0000;
const VSOCK: [u32; 3] = [40, 1, 0];

const GETPID: Call = (20, [0; 5]);
const MKDIR: Call = (39, [0; 5]);
const MOUNT: Call = (21, [0; 5]);
const UMOUNT: Call = (22, [0; 5]);
const IOCTL_TIOCSTI: Call = (54, [0, 0x5412, 0, 0, 0]);
const SOCKETCALL_SOCKET: Call = (102, [1, WORDS, 0, 0, 0]);
const SOCKETCALL_LISTEN: Call = (102, [4, WORDS, 0, 0, 0]);
const IPC_SHMGET: Call = (117, [23, 0, 4096, 0, 0]);
const CLONE: Call = (120, [NEW_USER | 17, 0, 0, 0, 0]);
const PERSONALITY: Call = (136, [0x0004_0000, 0, 0, 0, 0]);
const CHOWN32: Call = (212, [0; 5]);
const KEYCTL: Call = (288, [0; 5]);
const UNSHARE: Call = (310, [NEW_USER, 0, 0, 0, 0]);
const SOCKET_VSOCK: Call = (359, [40, 1, 0, 0, 0]);
const SOCKET_UNIX: Call = (359, [1, 1, 0, 0, 0]);
const CLONE3: Call = (435, [0; 5]);

#[test]
fn by_default_the_first_call_kills() {
    let Some(_turn) = turn_to_start() else { return };
    let programs = Programs::new();
    if !programs.run_here() {
        return;
    }
    for bits in [32, 64] {
        let path = programs.add("getpid", bits, &[GETPID], [0; 3]);
        for named in [None, Some(Architecture::Native), Some(Architecture::X86_64)] {
            let mut command = programs.command(&path);
            named.map(|named| command.system_call_architectures([named]));
            assert_eq!(command.status().unwrap().signal(), SIGSYS, "{bits} bits, {named:?}");
        }
        // What uname says, lets nothing through.
        let mut command = programs.command(&path);
        assert_eq!(command.personality(Personality::X86).status().unwrap().signal(), SIGSYS);
    }
    let plan = programs.command(Path::new("true")).plan().unwrap();
    assert_eq!(plan.report().of("system-call ABIs"), Some(&Outcome::Applied("x86-64".into())));
}

#[test]
fn named_it_runs_under_the_same_rules() {
    let Some(_turn) = turn_to_start() else { return };
    let programs = Programs::new();
    if !programs.run_here() {
        return;
    }
    let calls = [
        (GETPID, None),
        (MOUNT, Some(Errno::EPERM)),
        (UMOUNT, Some(Errno::EPERM)),
        (IOCTL_TIOCSTI, Some(Errno::EPERM)),
        (SOCKETCALL_SOCKET, Some(Errno::ENOSYS)),
        // A descriptor that is none: the kernel has looked.
        (SOCKETCALL_LISTEN, Some(Errno::EBADF)),
        (IPC_SHMGET, None),
        (CLONE, Some(Errno::EPERM)),
        (PERSONALITY, Some(Errno::EPERM)),
        (CHOWN32, Some(Errno::EFAULT)),
        (KEYCTL, Some(Errno::EPERM)),
        (UNSHARE, Some(Errno::EPERM)),
        (SOCKET_VSOCK, Some(Errno::EAFNOSUPPORT)),
        (SOCKET_UNIX, None),
        (CLONE3, Some(Errno::ENOSYS)),
    ];
    for bits in [32, 64] {
        let path = programs.add("calls", bits, &calls.map(|(call, _)| call), VSOCK);
        let found = say(programs.command(&path).system_call_architectures([Architecture::X86]));
        assert_eq!(found.len(), calls.len(), "{found:?}");
        for ((call, errno), answer) in calls.iter().zip(found) {
            let expected = errno.map(|errno| -i32::from(errno.raw()));
            assert!(expected.map_or(answer >= 0, |expected| answer == expected), "{bits} bits, {call:?}: {answer}");
        }
    }
    let plan = programs.command(Path::new("true")).system_call_architectures([Architecture::X86]).plan().unwrap();
    assert_eq!(plan.report().of("system-call ABIs"), Some(&Outcome::Applied("x86-64 x86".into())));
    assert!(matches!(plan.report().of("system-call floor"), Some(Outcome::Applied(_))));
}

#[test]
fn changes_of_the_caller_hold_there() {
    let Some(_turn) = turn_to_start() else { return };
    let programs = Programs::new();
    if !programs.run_here() {
        return;
    }
    let calls = [CHOWN32, IPC_SHMGET, UMOUNT, SOCKET_UNIX, SOCKETCALL_SOCKET, KEYCTL];
    let path = programs.add("calls", 32, &calls, [1, 1, 0]);
    let mut command = programs.command(&path);
    command
        .system_call_architectures([Architecture::X86])
        .deny_system_calls(["chown"], Denial::Errno(Errno::EACCES))
        .deny_system_calls(["@ipc"], Denial::EPERM)
        .allow_system_calls(["umount2", "@keyring"])
        .danger_allow_system_call("socketcall");
    let number = |errno: Errno| -i32::from(errno.raw());
    let found = say(&mut command);
    assert_eq!(found[..3], [number(Errno::EACCES), -1, number(Errno::EFAULT)]);
    assert!(found[3] >= 0 && found[4] >= 0, "{found:?}");
    assert!(![-1, number(Errno::ENOSYS)].contains(&found[5]), "{found:?}");
    let plan = command.plan().unwrap();
    let floor = plan.report().of("system-call floor");
    assert_eq!(floor, Some(&Outcome::Off("open: x86: socketcall socket".into())));
    // Families close it again, whatever opened it.
    let found = say(command.socket_families([Family::INET]));
    assert_eq!(found[3..5], [number(Errno::EAFNOSUPPORT), number(Errno::ENOSYS)]);
}

#[test]
fn a_listener_is_asked_about_them() {
    let Some(_turn) = turn_to_start() else { return };
    let programs = Programs::new();
    if !programs.run_here() {
        return;
    }
    let path = programs.add("mkdir", 32, &[MKDIR], [0; 3]);
    let mut command = programs.command(&path);
    command.system_call_architectures([Architecture::X86]).notify_system_calls(["mkdir"]).stdout(Stdio::piped());
    let mut container = match command.spawn() {
        Err(error) if error.errno() == Some(Errno::EBUSY) => return skip(&error.to_string()),
        started => started.unwrap(),
    };
    let listener = container.listener.take().unwrap();
    let call = listener.receive(Some(Duration::from_secs(20))).unwrap().unwrap();
    assert_eq!((call.arch(), call.name()), (Some(Arch::X86), Some("mkdir")));
    assert!(listener.respond(&call, 77).unwrap());
    assert_eq!(answers(&container.wait_with_output().unwrap().stdout), [77]);
}

#[test]
fn a_further_process_has_the_same_filter() {
    let Some(_turn) = turn_to_start() else { return };
    let programs = Programs::new();
    if !programs.run_here() {
        return;
    }
    let path = programs.add("calls", 32, &[GETPID, MOUNT, SOCKETCALL_SOCKET], VSOCK);
    let sleeping = || {
        let mut command = programs.command(Path::new("sleep"));
        command.arg("1000");
        command
    };
    let container = sleeping().system_call_architectures([Architecture::X86]).spawn().unwrap();
    let output = container.exec(&path).output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let found = answers(&output.stdout);
    assert!(found[0] > 0 && found[1..] == [-1, -i32::from(Errno::ENOSYS.raw())], "{found:?}");
    drop(container);
    let container = sleeping().spawn().unwrap();
    assert_eq!(container.exec(&path).status().unwrap().signal(), SIGSYS);
}

#[test]
fn the_profile_nspawn_has_it_as_the_original() {
    let Some(_turn) = turn_to_start() else { return };
    let programs = Programs::new();
    if !programs.run_here() {
        return;
    }
    if !is_root() {
        return skip("the profile nspawn needs root here");
    }
    let path = programs.add("calls", 32, &[GETPID, SOCKETCALL_SOCKET], [1, 1, 0]);
    let nspawn = || {
        let mut command = Command::of(Profile::Nspawn, &path);
        command.bind_ro(programs.0.path(), "/srv").spec_mut().root = Command::new("true").spec().root;
        command
    };
    let found = say(nspawn().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert!(found.iter().all(|answer| *answer >= 0), "{found:?}");
    let status = nspawn().system_call_architectures([Architecture::Native]).status().unwrap();
    assert_eq!(status.signal(), SIGSYS);
}

#[test]
fn what_this_machine_does_not_have_is_refused_by_name() {
    for (other, reason) in [(Architecture::Arm, "no kernel for this machine"), (Architecture::Arm64, "no kernel")] {
        let error = Command::new("true").system_call_architectures([other]).plan().unwrap_err().to_string();
        let words = [reason, "Command::system_call_architectures", "native, x86-64, x86, x32"];
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    }
    let error = Command::new("true").danger_no_filter().system_call_architectures([Architecture::X86]).plan();
    assert!(error.unwrap_err().to_string().contains("switched off"));
    // Hardly a kernel has it; the filter does.
    let Some(_turn) = turn_to_start() else { return };
    assert_eq!(run(Command::new("echo").arg("ok").system_call_architectures([Architecture::X32])), "ok\n");
}
