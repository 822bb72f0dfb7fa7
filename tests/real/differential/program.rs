//! The payload: a program that waits for a signal. It has no loader, no library and
//! no descriptor, so that its process stays what the start made it. It may ask the
//! kernel first what only a process itself is told, and keeps the answers.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// Where the answers are.
const ANSWERS: u64 = 0x60_0000;
/// Behind what uname(2) fills in, 4 bytes each.
const NUMBERS: u64 = ANSWERS + 512;
const BASE: u64 = 0x40_0000;

/// A call by its number on x86_64 and on aarch64, and its arguments.
type Call = ([u32; 2], [i32; 3]);

const UNAME: Call = ([63, 160], [ANSWERS as i32, 0, 0]);
const ASKED: [Call; 4] = [
    UNAME,
    // prctl(2): PR_GET_SECUREBITS, PR_GET_DUMPABLE
    ([157, 167], [27, 0, 0]),
    ([157, 167], [3, 0, 0]),
    // keyctl(2): KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING
    ([250, 219], [0, -3, 0]),
];
/// And a word that says that all have been asked.
const DONE: Call = ([39, 172], [0, 0, 0]);

/// What the program has been told; a negative number is an error.
pub(crate) struct Answers {
    pub(crate) hostname: String,
    pub(crate) securebits: i32,
    pub(crate) dumpable: i32,
    pub(crate) keyring: i32,
}

/// A start is over when the exec cannot fail any more, which is a moment before all
/// of the new program is in place: its arguments come last.
pub(crate) fn await_exec(pid: u32) {
    let end = Instant::now() + Duration::from_secs(5);
    let read = |whose: &str| std::fs::read(format!("/proc/{whose}/cmdline")).unwrap_or_default();
    // A child of this process shows this one's for a moment still (`exec_mmap`).
    let there = || {
        let text = read(&pid.to_string());
        (text.starts_with(b"/") || text.starts_with(b"-")) && text != read("self")
    };
    while !there() {
        assert!(Instant::now() < end, "{pid} does not run its program");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reads what a process that runs [`asking`] has been told. `None` where the memory of
/// the process may not be read, or where it was told nothing.
pub(crate) fn answers(pid: u32) -> Option<Answers> {
    await_exec(pid);
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let end = Instant::now() + Duration::from_secs(5);
    let mut words = [[0; 4]; ASKED.len() + 1];
    loop {
        memory.read_exact_at(words.as_flattened_mut(), NUMBERS).ok()?;
        if words[ASKED.len()] != [0; 4] {
            break;
        }
        assert!(Instant::now() < end, "{pid} asks no more");
        std::thread::sleep(Duration::from_millis(1));
    }
    let [named, securebits, dumpable, keyring, _] = words.map(i32::from_le_bytes);
    let mut name = [0; 65];
    memory.read_exact_at(&mut name, ANSWERS + 65).ok()?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    (named == 0).then(|| Answers {
        hostname: String::from_utf8_lossy(name).into_owned(),
        securebits,
        dumpable,
        keyring,
    })
}

/// A program that asks, then waits.
pub(crate) fn asking() -> Vec<u8> {
    let asked = ASKED.into_iter().chain([DONE]).enumerate();
    program(asked.flat_map(|(place, ask)| [call(ask), keep(place as u64)].concat()).collect())
}

/// One that waits only.
pub(crate) fn waiting() -> Vec<u8> {
    program(Vec::new())
}

#[cfg(target_arch = "x86_64")]
fn call((numbers, arguments): Call) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(numbers[0].to_le_bytes());
    // mov edi, esi, edx
    for (register, argument) in [0xbf, 0xbe, 0xba].into_iter().zip(arguments) {
        code.push(register);
        code.extend(argument.to_le_bytes());
    }
    // syscall
    code.extend([0x0f, 0x05]);
    code
}

#[cfg(target_arch = "x86_64")]
fn keep(place: u64) -> Vec<u8> {
    // mov [address], eax
    let mut code = vec![0x89, 0x04, 0x25];
    code.extend((NUMBERS as u32 + 4 * place as u32).to_le_bytes());
    code
}

#[cfg(target_arch = "x86_64")]
fn wait_for_ever() -> Vec<u8> {
    // mov eax, 34 (pause); syscall; jmp to the start
    vec![0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]
}

#[cfg(target_arch = "aarch64")]
fn set(register: u32, value: i32) -> u32 {
    match value {
        // movn; movz with the upper half; movz
        ..0 => 0x9280_0000 | (!value as u32) << 5 | register,
        0x1_0000.. => 0xd2a0_0000 | (value as u32 >> 16) << 5 | register,
        _ => 0xd280_0000 | (value as u32) << 5 | register,
    }
}

#[cfg(target_arch = "aarch64")]
fn call((numbers, arguments): Call) -> Vec<u8> {
    let registers = (0..3).zip(arguments).chain([(8, numbers[1] as i32)]);
    // svc 0
    registers.map(|(register, value)| set(register, value)).chain([0xd400_0001]).flat_map(u32::to_le_bytes).collect()
}

#[cfg(target_arch = "aarch64")]
fn keep(place: u64) -> Vec<u8> {
    // str w0, [x9, offset]
    let offset = (NUMBERS - ANSWERS) as u32 / 4 + place as u32;
    [set(9, ANSWERS as i32), 0xb900_0120 | offset << 10].into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(target_arch = "aarch64")]
fn wait_for_ever() -> Vec<u8> {
    // ppoll(0, 0, 0, 0), for ever
    let zeros = (0..5).map(|register| set(register, 0));
    zeros.chain([set(8, 73), 0xd400_0001, 0x17ff_fff9]).flat_map(u32::to_le_bytes).collect()
}

/// elf(5): an executable with two segments, the whole file and a page for answers.
fn program(mut code: Vec<u8>) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    code.extend(wait_for_ever());
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let length = HEADERS + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [2, machine].iter().for_each(|half| file.extend(half.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    [BASE + HEADERS, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    [64_u16, 56, 2, 64, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    // PT_LOAD: read and execute; read and write.
    for (flags, words) in
        [(5, [0, BASE, BASE, length, length, 0x1_0000]), (6, [0, ANSWERS, ANSWERS, 0, 0x1000, 0x1_0000])]
    {
        [1_u32, flags].iter().for_each(|word| file.extend(word.to_le_bytes()));
        words.iter().for_each(|word: &u64| file.extend(word.to_le_bytes()));
    }
    file.extend(code);
    file
}
