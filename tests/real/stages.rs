//! The child's code, as it was built: what it calls, and what it makes of a
//! plan that is none.
//!
//! Stage A runs in the embedder's memory, so its machine code may not even
//! contain a call. Stage B is an executable without libc, so it may call
//! nothing but itself.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a test file as a whole")]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use skep::sys::abi::Seals;
use skep::sys::program::{PROGRESS_OFFSET, image};
use skep::sys::spawn::STAGE_B;
use skep::sys::wire::{Blob, Reader};
use skep::sys::{At, Cell, Child, Errno, Op, OpKind, Proof, Section, Slot};
use skep_tests::{Scratch, is_root, skip, turn};

// ---- The disassembly.

/// Instructions by address: mnemonic and operands.
type Code = BTreeMap<u64, (String, String)>;

/// The code of a file, or of one function of it; none where there is no
/// disassembler, which is said.
fn disassemble(file: &Path, function: Option<&str>) -> Option<Code> {
    disassemble_what(file, &function.map_or_else(|| "--disassemble".to_owned(), |name| format!("--disassemble={name}")))
}

fn disassemble_what(file: &Path, what: &str) -> Option<Code> {
    let mut objdump = Process::new("objdump");
    objdump.env("LC_ALL", "C").args(["--no-show-raw-insn", "-w", "--disassemble", what]);
    let Ok(output) = objdump.arg(file).output() else {
        skip("no objdump here (package binutils)");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let code: Code = text.lines().filter_map(instruction).collect();
    assert!(!code.is_empty(), "no code in {}: {text}", file.display());
    Some(code)
}

/// A line such as `  2012c7:\tjmp    2012ec <skep_stage_a+0x37>`.
fn instruction(line: &str) -> Option<(u64, (String, String))> {
    let (address, rest) = line.split_once(":\t")?;
    let rest = rest.split(['#', '<']).next()?.trim();
    let (mnemonic, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let address = u64::from_str_radix(address.trim(), 16).ok()?;
    Some((address, (mnemonic.to_owned(), operands.trim().to_owned())))
}

/// Where a direct call or jump goes: the last operand, a bare address.
fn target(operands: &str) -> Option<u64> {
    u64::from_str_radix(operands.rsplit([',', ' ']).next()?.trim_start_matches("0x"), 16).ok()
}

/// What differs between the two architectures.
struct Machine {
    /// All that stage A consists of.
    allowed: &'static [&'static str],
    system_call: &'static str,
    /// The start of every mnemonic of a direct jump that is not a call.
    jumps: &'static [&'static str],
    calls: &'static [&'static str],
    /// The stack pointer in an operand, and what uses it without naming it.
    stack_pointer: &'static str,
    stack_uses: &'static [&'static str],
    /// Thread-locals: in an operand, and as a mnemonic.
    thread_pointer: &'static [&'static str],
}

#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = Machine {
    allowed: &[
        "push", "pop", "mov", "xor", "cmp", "test", "jmp", "je", "jne", "ja", "jae", "add", "inc", "syscall", "ret",
        "ud2", "nop", "int3",
    ],
    system_call: "syscall",
    jumps: &["j"],
    calls: &["call"],
    stack_pointer: "%rsp",
    stack_uses: &["push", "pop", "ret", "call", "enter", "leave"],
    thread_pointer: &["%fs", "%gs", "wrfsbase", "wrgsbase", "rdfsbase", "rdgsbase", "swapgs"],
};

#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = Machine {
    allowed: &[
        "mov", "svc", "cbz", "ret", "cmp", "b.cs", "b.hs", "b.ne", "cbnz", "ldr", "str", "ldp", "cmn", "add", "b",
        "stp", "brk", "nop", "udf",
    ],
    system_call: "svc",
    jumps: &["b", "cbz", "cbnz", "tbz", "tbnz"],
    calls: &["bl"],
    stack_pointer: "sp",
    stack_uses: &["ret", "bl", "blr"],
    thread_pointer: &["tpidr_el0", "tpidrro_el0"],
};

impl Machine {
    /// `movq` is `mov` with a size, in some versions of the disassembler.
    fn allows(&self, mnemonic: &str) -> bool {
        let bare = mnemonic.strip_suffix(['q', 'l']).unwrap_or(mnemonic);
        self.allowed.contains(&mnemonic) || self.allowed.contains(&bare)
    }

    fn is_call(&self, mnemonic: &str) -> bool {
        self.calls.iter().any(|call| mnemonic.starts_with(call)) && !mnemonic.starts_with("bl.")
    }

    fn is_jump(&self, mnemonic: &str) -> bool {
        let is = |jump: &&str| match *jump {
            "j" => mnemonic.starts_with('j'),
            jump => mnemonic == jump || mnemonic.strip_prefix(jump).is_some_and(|rest| rest.starts_with('.')),
        };
        self.jumps.iter().any(is)
    }

    fn touches_stack(&self, (mnemonic, operands): &(String, String)) -> bool {
        let named = operands.split([',', ' ', '(', ')', '[', ']']).any(|word| word == self.stack_pointer);
        named || self.stack_uses.iter().any(|used| mnemonic.starts_with(used))
    }

    fn touches_thread(&self, (mnemonic, operands): &(String, String)) -> bool {
        self.thread_pointer.iter().any(|word| operands.contains(word) || mnemonic.starts_with(word))
    }
}

#[test]
fn stage_a_calls_nothing() {
    // What is disassembled is this executable, so it has to contain a start.
    std::hint::black_box(skep::Command::spawn as fn(&mut skep::Command) -> _);
    let _turn = turn();
    let Some(code) = disassemble(&std::env::current_exe().unwrap(), Some("skep_stage_a")) else { return };
    for (address, (mnemonic, operands)) in &code {
        let line = format!("{address:x}: {mnemonic} {operands}");
        assert!(MACHINE.allows(mnemonic), "not on the list: {line}");
        assert!(!MACHINE.is_call(mnemonic), "a call: {line}");
        if MACHINE.is_jump(mnemonic) {
            let inside = target(operands).is_some_and(|target| code.contains_key(&target));
            assert!(inside, "a jump out of the function: {line}");
        }
    }
    let calls: Vec<u64> =
        code.iter().filter(|(_, (mnemonic, _))| mnemonic == MACHINE.system_call).map(|(address, _)| *address).collect();
    assert_eq!(calls.len(), 3, "the clone, the table's, the exit: {code:#x?}");

    // The first branch after the clone takes the child away; from there on
    // the stack is not even looked at.
    let (_, (branch, operands)) =
        code.range(calls[0]..).find(|(_, (mnemonic, _))| MACHINE.is_jump(mnemonic)).expect("a branch after the clone");
    let child = target(operands).expect("the child's label");
    assert!(calls[0] < child && child < calls[1], "{branch} {operands}");
    for (address, line) in code.range(child..) {
        assert!(!MACHINE.touches_stack(line), "the child uses the stack at {address:x}: {line:?}");
        let leaves = MACHINE.is_jump(&line.0) && target(&line.1).is_some_and(|target| target < child);
        assert!(!leaves, "the child goes back to the parent's code at {address:x}: {line:?}");
    }
    assert!(code.values().all(|line| !MACHINE.touches_thread(line)), "a thread-local: {code:#x?}");
}

#[test]
fn stage_b_calls_only_itself() {
    let _turn = turn();
    let scratch = Scratch::new();
    let elf = Elf::read(STAGE_B);
    let Some(code) = disassemble(&stage_b(&scratch), None) else { return };
    let mut system_calls = 0;
    for (address, (mnemonic, operands)) in &code {
        let line = format!("{address:x}: {mnemonic} {operands}");
        assert!(!MACHINE.touches_thread(&(mnemonic.clone(), operands.clone())), "a thread-local: {line}");
        // Other ways into the kernel, and instructions of the kernel.
        let foreign = ["sysenter", "int ", "iret", "sysret", "hlt", "in ", "out "];
        assert!(!foreign.iter().any(|word| format!("{mnemonic} ").starts_with(word)), "{line}");
        system_calls += usize::from(mnemonic == MACHINE.system_call);
        if !MACHINE.is_call(mnemonic) && !MACHINE.is_jump(mnemonic) {
            continue;
        }
        match operands.strip_prefix('*') {
            None if mnemonic.starts_with("blr") => panic!("a call of a computed address: {line}"),
            None => {
                let inside = target(operands).is_some_and(|target| code.contains_key(&target));
                assert!(inside, "a jump into nowhere: {line}");
            }
            // Through a table of constants: where a `match` goes on, or one
            // of stage B's own functions by its address.
            Some(place) => {
                let table = table_of(place, *address, &code).unwrap_or_else(|| panic!("a computed address: {line}"));
                assert!(!elf.code().contains(&table), "a table in the code: {line}");
                let entry = elf.word(table).unwrap_or_else(|| panic!("no table: {line}"));
                assert!(code.contains_key(&entry), "a table that leads to {entry:#x}: {line}");
            }
        }
    }
    assert!(system_calls > 50, "{system_calls} system calls seen");
}

/// The address of the constant behind `0x42b5(%rip)` or `0x2001d0(,%r8,8)`;
/// none for any other way to say where.
///
/// For two calls in a row it is read once into a register, `%r12`.
fn table_of(place: &str, address: u64, code: &Code) -> Option<u64> {
    if place.starts_with('%') {
        let writes = |(_, (_, operands)): &(&u64, &(String, String))| operands.ends_with(&format!(",{place}"));
        let (read, (mnemonic, operands)) = code.range(..address).rev().take(16).find(writes)?;
        let from = operands.strip_suffix(&format!(",{place}")).filter(|_| mnemonic == "mov")?;
        return table_of(from.split(' ').next()?, *read, code);
    }
    let (number, index) = place.split_once('(')?;
    let number = u64::from_str_radix(number.trim_start_matches("0x"), 16).ok()?;
    if index == "%rip)" {
        let next = code.range(address + 1..).next()?.0;
        return Some(next.wrapping_add(number));
    }
    (index.starts_with(',') && index.ends_with(",8)")).then_some(number)
}

// ---- The file.

/// As much of an ELF file as there is to check.
struct Elf<'a> {
    bytes: &'a [u8],
}

struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    length: u64,
}

const LOAD: u32 = 1;
const GNU_STACK: u32 = 0x6474_e551;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

impl<'a> Elf<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        assert_eq!(&bytes[..6], b"\x7fELF\x02\x01", "64 bit, little-endian");
        Self { bytes }
    }

    fn number(&self, at: u64, size: usize) -> u64 {
        let at = usize::try_from(at).unwrap();
        let mut word = [0_u8; 8];
        word[..size].copy_from_slice(&self.bytes[at..at + size]);
        u64::from_le_bytes(word)
    }

    fn segments(&self) -> Vec<Segment> {
        let (table, count) = (self.number(32, 8), self.number(56, 2));
        (0..count)
            .map(|index| table + index * 56)
            .map(|at| Segment {
                kind: self.number(at, 4) as u32,
                flags: self.number(at + 4, 4) as u32,
                offset: self.number(at + 8, 8),
                address: self.number(at + 16, 8),
                length: self.number(at + 32, 8),
            })
            .collect()
    }

    /// `sh_type` of every section.
    fn sections(&self) -> Vec<u32> {
        let (table, count) = (self.number(40, 8), self.number(60, 2));
        (0..count).map(|index| self.number(table + index * 64 + 4, 4) as u32).collect()
    }

    fn code(&self) -> std::ops::Range<u64> {
        let segments = self.segments();
        let code = segments.iter().find(|segment| segment.kind == LOAD && segment.flags & EXECUTE != 0).unwrap();
        code.address..code.address + code.length
    }

    /// The word at an address, as it is loaded.
    fn word(&self, address: u64) -> Option<u64> {
        let within = |segment: &&Segment| {
            segment.kind == LOAD
                && (segment.address..(segment.address + segment.length).saturating_sub(7)).contains(&address)
        };
        let segments = self.segments();
        let segment = segments.iter().find(within)?;
        Some(self.number(address - segment.address + segment.offset, 8))
    }
}

#[test]
fn stage_b_is_static_and_small() {
    let elf = Elf::read(STAGE_B);
    assert!(STAGE_B.len() < 64 * 1024, "{} bytes, written at every start", STAGE_B.len());
    let readme = include_str!("../../README.md");
    let said = readme.split_once(" KiB static executable").and_then(|(before, _)| before.rsplit(' ').next());
    let said: usize = said.and_then(|word| word.trim().parse().ok()).expect("the README says how large it is");
    let size = STAGE_B.len().div_ceil(1024);
    assert!(size.abs_diff(said) * 10 <= said, "{size} KiB, and the README says {said}");
    assert_eq!(elf.number(16, 2), 2, "ET_EXEC: at a fixed address, nothing to relocate");
    assert!(elf.code().contains(&elf.number(24, 8)), "its entry is code");
    let segments = elf.segments();
    for (kind, name) in [(2, "DYNAMIC"), (3, "INTERP"), (7, "TLS")] {
        assert!(segments.iter().all(|segment| segment.kind != kind), "PT_{name}");
    }
    for segment in &segments {
        let both = WRITE | EXECUTE;
        assert_ne!(segment.flags & both, both, "written and executed at {:#x}", segment.address);
    }
    let stack = segments.iter().find(|segment| segment.kind == GNU_STACK).expect("PT_GNU_STACK: else it is executable");
    assert_eq!(stack.flags & EXECUTE, 0, "an executable stack");
    // Without any of these there is no symbol that could be undefined.
    for (kind, name) in [(2, "SYMTAB"), (4, "RELA"), (6, "DYNAMIC"), (9, "REL"), (11, "DYNSYM")] {
        assert!(!elf.sections().contains(&kind), "SHT_{name}");
    }
    for word in ["panicked", "/rustc/", ".rs:", "core::", "unwrap"] {
        let found = STAGE_B.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!found, "{word:?} in stage B: a panic, or a path of the machine that built it");
    }
}

#[test]
fn the_stub_init_needs_only_its_own_pages() {
    // It unmaps all others.
    let _turn = turn();
    let scratch = Scratch::new();
    let Some(code) = disassemble_what(&stage_b(&scratch), "--section=skep_reap") else { return };
    for (address, (mnemonic, operands)) in &code {
        let line = format!("{address:x}: {mnemonic} {operands}");
        assert!(!MACHINE.is_call(mnemonic), "a call: {line}");
        if MACHINE.is_jump(mnemonic) {
            let inside = target(operands).is_some_and(|target| code.contains_key(&target));
            assert!(inside, "a jump out of the section: {line}");
        } else if cfg!(target_arch = "x86_64") {
            // `$0x200000` is a number; `0x200000` and `0x10(%rip)` are places.
            let named = operands.split(',').any(|operand| operand.starts_with("0x") && !operand.contains('('));
            assert!(!named && !operands.contains("%rip") && !operands.contains("(,"), "a place elsewhere: {line}");
        }
    }
}

// ---- Stage B as a process.

/// Stage B as a file that anybody may execute.
fn stage_b(scratch: &Scratch) -> PathBuf {
    let path = scratch.path().join("stage-b");
    std::fs::write(&path, STAGE_B).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// A file in memory, open in the processes that this one makes.
fn inherited(content: &[u8]) -> OwnedFd {
    let file = nix::sys::memfd::memfd_create(c"skep-test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
    File::from(file.try_clone().unwrap()).write_all_at(content, 0).unwrap();
    inherit(&file);
    file
}

fn inherit(file: &impl std::os::fd::AsFd) {
    fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
}

/// Runs it in an empty directory, as nobody where that is possible.
fn run(program: &Path, nowhere: &Path, argument: Option<&str>) -> Output {
    let mut process = Process::new(program);
    process.args(argument).current_dir(nowhere).env_clear();
    if is_root() {
        process.uid(65534).gid(65534);
    }
    process.output().unwrap()
}

#[test]
fn stage_b_without_a_plan_does_nothing() {
    let _turn = turn();
    let scratch = Scratch::new();
    let (program, nowhere) = (stage_b(&scratch), scratch.directory("nowhere"));
    let text = inherited(b"This is no plan, and longer than its header would be. ".repeat(10).as_slice());
    let short = inherited(b"skep-B1\0");
    let header = inherited(&[b"skep-B1\0".as_slice(), &128_u64.to_le_bytes(), &[0; 112]].concat());
    let empty = inherited(b"");
    let directory = File::open("/").unwrap();
    std::fs::write(scratch.path().join("plan"), plan(240)).unwrap();
    let read_only = File::open(scratch.path().join("plan")).unwrap();
    let (pipe, _other) = nix::unistd::pipe().unwrap();
    inherit(&directory);
    inherit(&read_only);
    inherit(&pipe);
    let number = |file: &dyn AsRawFd| Some(file.as_raw_fd().to_string());
    let table = [
        ("no argument", None),
        ("empty", Some(String::new())),
        ("a letter", Some("x".to_owned())),
        ("negative", Some("-1".to_owned())),
        ("too large", Some("99999999999".to_owned())),
        ("beyond an int", Some("4294967296".to_owned())),
        ("a space", Some(" 3".to_owned())),
        ("a tail", Some("3x".to_owned())),
        ("not open", Some("999".to_owned())),
        ("/dev/null", Some("0".to_owned())),
        ("text", number(&text)),
        ("half a header", number(&short)),
        ("nothing but a header", number(&header)),
        ("an empty file", number(&empty)),
        ("a directory", number(&directory)),
        ("a pipe", number(&pipe)),
        ("not writable", number(&read_only)),
    ];
    for (name, argument) in table {
        let output = run(&program, &nowhere, argument.as_deref());
        assert_eq!(output.status.code(), Some(125), "{name}: {}", output.status);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{name}: {output:?}");
    }
    assert_eq!(std::fs::read_dir(&nowhere).unwrap().count(), 0);
}

// ---- Images that are damaged.

/// Ops that can do no harm, whatever their arguments, to a process that holds
/// nothing. Numbers beyond the last kind are no op at all.
const HARMLESS: [OpKind; 9] = [
    OpKind::OpenAt2, // Where "" or made-up names lead: to nothing.
    OpKind::Close,
    OpKind::MemFd,
    OpKind::Peek,
    OpKind::ProveRoot,
    OpKind::Dumpable,
    OpKind::Umask,
    OpKind::Fchdir,
    OpKind::Fail,
];

const CELLS: usize = 10;
// Ten bytes each, with the NUL: 10 is the kind of `Close`.
// Far beyond the kinds that there are, as is every length below.
const NAME: &CStr = c"\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9";
const CONTENT: &[u8] = b"\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9";

/// A plan that does little, and then fails, with a content of `size` bytes in
/// it for their own sake.
///
/// A damaged offset makes stage B read ops from the middle of others, so every
/// byte has to be the kind of a harmless op, or of none.
fn plan(size: usize) -> Vec<u8> {
    let content = vec![0xf0; size];
    let file = Slot(0);
    let ops = |ops: &[Op<'_>]| {
        let mut bytes = Vec::new();
        ops.iter().for_each(|op| op.write(&mut bytes));
        bytes
    };
    let enter = ops(&[
        Op::Umask { mode: 0 },
        Op::MemFd { name: NAME, content: Blob(CONTENT), seals: Seals::NONE, executable: false, into: file },
        Op::Peek { file, offset: 0, into: Slot(0) },
    ]);
    let payload = ops(&[
        Op::ProveRoot {},
        Op::MemFd { name: NAME, content: Blob(&content), seals: Seals::NONE, executable: false, into: file },
        Op::Close { file },
        Op::Fail { errno: Errno::from_raw(0xfe) },
    ]);
    let init = ops(&[Op::Dumpable { on: false }, Op::Fail { errno: Errno::from_raw(0xfd) }]);
    let mut first = 0;
    let mut section = |ops| {
        let section = Section { first, ops };
        first += section.iter().count() as u32;
        section
    };
    let child = Child { enter: section(&enter), payload: section(&payload), init: section(&init) };
    let bytes = image(&child, CELLS, Slot(9));
    for byte in &bytes[HEADER..] {
        let kind = OpKind::ALL.get(usize::from(*byte));
        assert!(kind.is_none_or(|kind| HARMLESS.contains(kind)), "{kind:?} could be read from this plan");
    }
    bytes
}

/// Bytes of the header: sixteen words, of which the second is the length.
const HEADER: usize = 128;

/// Runs stage B on an image. It must end by itself, with one of the two codes
/// for "no": 1 where an op failed, 125 where it is no plan.
fn run_image(program: &Path, nowhere: &Path, image: &[u8], what: &dyn Fn() -> String) -> i32 {
    let file = inherited(image);
    let output = run(program, nowhere, Some(&file.as_raw_fd().to_string()));
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 125)), "{}: {}", what(), output.status);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}: {output:?}", what());
    code.unwrap_or_default()
}

/// The whole image runs: what is damaged below is not refused for another reason.
#[test]
fn stage_b_runs_a_plan_and_says_how_far_it_came() {
    let _turn = turn();
    let scratch = Scratch::new();
    let (program, nowhere) = (stage_b(&scratch), scratch.directory("nowhere"));
    let bytes = plan(240);
    let file = inherited(&bytes);
    let output = run(&program, &nowhere, Some(&file.as_raw_fd().to_string()));
    assert_eq!(output.status.code(), Some(1), "{}", output.status);
    let mut word = [0_u8; 8];
    File::from(file).read_exact_at(&mut word, PROGRESS_OFFSET).unwrap();
    // Ops 0 to 2 are `enter`; the fourth of `payload` is the one that fails.
    assert_eq!(u64::from_le_bytes(word), 7, "the index of the failing op, plus one");

    // The same with somebody who listens.
    let (host, child) = std::os::unix::net::UnixStream::pair().unwrap();
    inherit(&child);
    let mut told = bytes;
    let report = usize::try_from(u64::from_le_bytes(told[32..40].try_into().unwrap())).unwrap();
    let cell = HEADER + report * Cell::SIZE;
    told[cell..cell + Cell::SIZE].copy_from_slice(&Cell::Descriptor(child.as_raw_fd()).to_bytes());
    run_image(&program, &nowhere, &told, &|| "with a socket".to_owned());
    drop(child);
    let mut record = Vec::new();
    (&host).read_to_end(&mut record).unwrap();
    let failed = skep::sys::Report::Failed { op: 6, errno: Errno::from_raw(0xfe) };
    assert_eq!(record, failed.to_value().to_le_bytes());
}

#[test]
fn stage_b_survives_every_damaged_header() {
    let _turn = turn();
    let scratch = Scratch::new();
    let (program, nowhere) = (stage_b(&scratch), scratch.directory("nowhere"));
    let good = plan(240);
    let length = good.len() as u64;
    let (mut refused, mut failed) = (0, 0);
    let mut check = |image: &[u8], what: &dyn Fn() -> String| match run_image(&program, &nowhere, image, what) {
        1 => failed += 1,
        _ => refused += 1,
    };
    // One byte of the header at a time.
    for at in 0..HEADER {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            check(&bad, &|| format!("byte {at} ^ {flip:#x}"));
        }
    }
    // Two words at a time, with values at the edges: of the file, of its
    // pages, of the types.
    let edges = [
        0,
        1,
        9,
        127,
        128,
        300,
        length - 1,
        length,
        length + 1,
        4096,
        8192,
        1 << 20,
        u32::MAX.into(),
        1 << 60,
        u64::MAX / 16,
        u64::MAX,
    ];
    for (one, word) in [(1, 3), (1, 5), (1, 7), (1, 8), (3, 5), (3, 7)] {
        for value in edges {
            for other in edges {
                let mut bad = good.clone();
                bad[one * 8..one * 8 + 8].copy_from_slice(&value.to_le_bytes());
                bad[word * 8..word * 8 + 8].copy_from_slice(&other.to_le_bytes());
                check(&bad, &|| format!("word {one} = {value:#x}, word {word} = {other:#x}"));
            }
        }
    }
    // A tag that no cell has.
    for cell in 0..CELLS {
        let mut bad = good.clone();
        bad[HEADER + cell * Cell::SIZE] = 3;
        check(&bad, &|| format!("tag of cell {cell}"));
    }
    assert!(refused > 500 && failed > 100, "{refused} refused, {failed} failed: the damage is not what it was");
    assert_eq!(std::fs::read_dir(&nowhere).unwrap().count(), 0);
}

#[test]
fn stage_b_survives_a_plan_that_is_cut_short() {
    let _turn = turn();
    let scratch = Scratch::new();
    let (program, nowhere) = (stage_b(&scratch), scratch.directory("nowhere"));
    let small = plan(240);
    for length in 0..small.len() {
        run_image(&program, &nowhere, &small[..length], &|| format!("the first {length} of {} bytes", small.len()));
    }
    // Of several pages, so that some are missing.
    let large = plan(0xf0f0);
    for length in (0..large.len()).step_by(509) {
        run_image(&program, &nowhere, &large[..length], &|| format!("the first {length} of {} bytes", large.len()));
    }
    assert_eq!(std::fs::read_dir(&nowhere).unwrap().count(), 0);
}

#[test]
fn stage_b_survives_lengths_that_lie() {
    let _turn = turn();
    let scratch = Scratch::new();
    let (program, nowhere) = (stage_b(&scratch), scratch.directory("nowhere"));
    let good = plan(240);
    let mut tried = 0;
    // The length before a name or content is four bytes, and then come those.
    for text in [NAME.to_bytes_with_nul(), CONTENT, &[0xf0; 240]] {
        let at = good.windows(text.len()).position(|window| window == text).unwrap() - 4;
        assert_eq!(good[at..at + 4], (text.len() as u32).to_le_bytes());
        for length in (0..200).chain([255, 4096, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX]) {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&length.to_le_bytes());
            run_image(&program, &nowhere, &bad, &|| format!("length at {at} = {length}"));
            tried += 1;
        }
    }
    assert_eq!(tried, 618);
    assert_eq!(std::fs::read_dir(&nowhere).unwrap().count(), 0);
}

// ---- The flat form.

/// Makes up arguments until the bytes are an op of `kind`, all of them read:
/// every argument is a number or a length with bytes.
fn made_up(kind: OpKind) -> Option<Vec<u8>> {
    const SHAPES: u32 = 3;
    (0..=10_u32).flat_map(|count| (0..SHAPES.pow(count)).map(move |shapes| (count, shapes))).find_map(
        |(count, shapes)| {
            let mut bytes = vec![kind as u8];
            for index in 0..count {
                match shapes / SHAPES.pow(index) % SHAPES {
                    // A number of its own for every argument; one for what has few values.
                    0 => bytes.extend((u64::from(index) + 4).to_le_bytes()),
                    1 => bytes.extend(1_u64.to_le_bytes()),
                    _ => bytes.extend([4, 0, 0, 0, b'a' + index as u8, b'=', b'c', 0]),
                }
            }
            let mut reader = Reader::new(&bytes);
            let read = Op::read(&mut reader).is_some() && reader.is_empty();
            read.then_some(bytes)
        },
    )
}

#[test]
fn every_kind_of_op_survives_the_way_into_stage_b() {
    for kind in OpKind::ALL {
        let bytes = made_up(*kind).unwrap_or_else(|| panic!("no arguments make a {}", kind.name()));
        let op = Op::read(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(op.kind(), *kind);
        let mut again = Vec::new();
        op.write(&mut again);
        assert_eq!(again, bytes, "{op}");
        assert!(op.to_string().starts_with(&format!("{}(", kind.name())), "{op}");
        for length in 0..bytes.len() {
            assert_eq!(Op::read(&mut Reader::new(&bytes[..length])), None, "{op}, cut to {length} bytes");
        }
    }
    for number in OpKind::ALL.len()..=255 {
        let bytes = [number as u8; 64];
        assert_eq!(Op::read(&mut Reader::new(&bytes)), None, "kind {number} does not exist");
    }
    // What a made-up op has only in one shape.
    let file = Slot(u16::MAX);
    for proof in [
        Proof::FileSystem { magic: u64::MAX },
        Proof::Inode { device: 1, inode: 2 },
        Proof::CharDevice { major: 3, minor: u32::MAX },
        Proof::BlockDevice { major: u32::MAX, minor: 4 },
        Proof::OwnedByRoot,
        Proof::Passable,
    ] {
        for op in [Op::Prove { file, proof }, Op::Mkdir { dir: At::Cwd, name: c"", mode: 0, exist_ok: false }] {
            let mut bytes = Vec::new();
            op.write(&mut bytes);
            assert_eq!(Op::read(&mut Reader::new(&bytes)), Some(op));
        }
    }
}
