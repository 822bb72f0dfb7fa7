//! Which devices a container may use, whatever nodes it gets: a closed list,
//! by the files of cgroup v1 or by a program on a v2 group (kernel
//! `admin-guide/cgroup-v1/devices.rst`, `admin-guide/cgroup-v2.rst`, "Device
//! controller").

use super::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::DeviceNumber;
use crate::profile;
use crate::report::Report;
use crate::spec::{DeviceAccess, MountKind, Profile, Want};

/// The name of its line in the report.
pub(crate) const ITEM: &str = "device policy";

/// One entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowed {
    pub(crate) block: bool,
    pub(crate) major: u32,
    /// `None`: every minor number.
    pub(crate) minor: Option<u32>,
    pub(crate) access: DeviceAccess,
}

const ALL: DeviceAccess = DeviceAccess { read: true, write: true, mknod: true };
const READ_WRITE: DeviceAccess = DeviceAccess { read: true, write: true, mknod: false };

/// What every container may use: the nodes of its `/dev`, `ptmx`, and the
/// terminals of its own devpts.
pub(crate) fn usual(profile: Profile) -> impl Iterator<Item = Allowed> {
    let character = |major, minor, access| Allowed { block: false, major, minor, access };
    let nodes = profile::nodes(profile).map(move |node| character(node.major, Some(node.minor), ALL));
    nodes.chain([character(5, Some(2), READ_WRITE), character(136, None, READ_WRITE)])
}

impl Allowed {
    fn of(number: DeviceNumber, access: DeviceAccess) -> Self {
        Self { block: number.block, major: number.major, minor: Some(number.minor), access }
    }
}

/// As v1 takes it: `c 10:229 rw`.
impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.block { 'b' } else { 'c' };
        match self.minor {
            Some(minor) => write!(f, "{kind} {}:{minor} {}", self.major, self.access),
            None => write!(f, "{kind} {}:* {}", self.major, self.access),
        }
    }
}

/// What was decided, before it is known which cgroup there is.
pub(super) struct Policy {
    list: Vec<Allowed>,
    /// Without it the start fails.
    required: bool,
    /// Worth a cgroup of its own.
    pub(super) forces: bool,
}

/// `None` where none is wanted, or none can be had and that is fine.
pub(super) fn decide(context: &Context<'_>, report: &mut Report) -> Result<Option<Policy>> {
    let spec = context.spec;
    let named: Vec<Allowed> = spec
        .mounts
        .iter()
        .filter_map(|mount| match &mount.kind {
            MountKind::Device(device) => Some(Allowed::of(context.facts.path(&device.source).node?, device.access)),
            _ => None,
        })
        .collect();
    // Only the cgroup keeps a device that can be read from being written.
    let narrow = named.iter().any(|allowed| !(allowed.access.read && allowed.access.write));
    if spec.device_policy == Want::Off {
        if narrow {
            return Err(context
                .invalid("device_policy", "a device with less access than rw, and no device policy")
                .remedy("Bind it with rw, or keep the policy."));
        }
        report.off(ITEM, "every device whose node is there, as its mode says");
        return Ok(None);
    }
    let required = narrow || spec.device_policy == Want::Require;
    // Root of a user namespace may not write the v1 files, nor load a program.
    if !context.facts.privileged() || !context.facts.has_every_id() {
        if required {
            return Err(Error::new(ErrorKind::NotPermitted, "only root can limit devices by cgroup")
                .from(spec.origins.of("device_policy"))
                .remedy("Leave the policy out: an ordinary user's container has no node but those that it is given."));
        }
        report.unsupported(ITEM, "only root can limit devices by cgroup");
        return Ok(None);
    }
    let forces = required || !named.is_empty();
    let list = usual(spec.profile).chain(named).collect();
    Ok(Some(Policy { list, required, forces }))
}

impl Policy {
    /// The lines of v1: everything is denied first.
    pub(super) fn legacy(&self, report: &mut Report) -> Vec<(&'static str, String)> {
        self.applied("cgroup v1", report);
        let allowed = self.list.iter().map(|allowed| ("devices.allow", allowed.to_string()));
        std::iter::once(("devices.deny", "a".to_owned())).chain(allowed).collect()
    }

    /// The program of v2.
    pub(super) fn unified(&self, report: &mut Report) -> Vec<u8> {
        self.applied("cgroup v2", report);
        program(&self.list)
    }

    fn applied(&self, how: &str, report: &mut Report) {
        report.applied(ITEM, format!("{} devices, no other ({how})", self.list.len()));
    }

    /// There is no cgroup that could hold it.
    pub(super) fn missing(&self, context: &Context<'_>, why: &str, report: &mut Report) -> Result<()> {
        if self.required {
            return Err(Error::new(ErrorKind::Unsupported, format!("devices cannot be limited: {why}"))
                .from(context.spec.origins.of("device_policy"))
                .remedy("Mount the v1 controller `devices`, or cgroup v2 where this caller may make groups."));
        }
        report.unsupported(ITEM, why);
        Ok(())
    }
}

/// One instruction of eBPF (kernel `bpf/standardization/instruction-set.rst`).
const fn instruction(code: u8, registers: u8, offset: i16, value: i32) -> [u8; 8] {
    let (offset, value) = (offset.to_le_bytes(), value.to_le_bytes());
    [code, registers, offset[0], offset[1], value[0], value[1], value[2], value[3]]
}

const LOAD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const SET: u8 = 0xb7;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SHIFT_LEFT: u8 = 0x64;
const OR: u8 = 0x4c;
/// Of the lower halves: the value would be extended by its sign.
const JUMP_IF: u8 = 0x16;
const JUMP_UNLESS: u8 = 0x55;
const JUMP_UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

const fn bits(access: DeviceAccess) -> i32 {
    access.mknod as i32 | (access.read as i32) << 1 | (access.write as i32) << 2
}

const fn access(bits: i32) -> DeviceAccess {
    DeviceAccess { mknod: bits & 1 > 0, read: bits & 2 > 0, write: bits & 4 > 0 }
}

/// How many bits of a device's number are the minor one (`linux/kdev_t.h`).
const MINOR_BITS: u32 = 20;

/// The number of a device that is allowed whatever is done to it, as one word.
fn whole(allowed: &Allowed) -> Option<i32> {
    let minor = allowed.minor.filter(|minor| allowed.access == ALL && *minor < 1 << MINOR_BITS)?;
    (allowed.major < 1 << (32 - MINOR_BITS)).then_some((allowed.major << MINOR_BITS | minor).cast_signed())
}

/// A program that answers 1 for what `list` allows, else 0
/// (`struct bpf_cgroup_dev_ctx`: access and type, major, minor).
///
/// Loading it costs some 3 µs an instruction, so whole devices take one each. A jump
/// reaches 32767 of them: of a list that is longer each entry is a test of its own.
pub(crate) fn program(list: &[Allowed]) -> Vec<u8> {
    let whole = |allowed: &Allowed| whole(allowed).filter(|_| list.len() < 1 << 12);
    let kind = |allowed: &Allowed| if allowed.block { 1 } else { 2 };
    let distance = |from: usize, to: usize| i16::try_from(to - from - 1).unwrap_or(0).to_le_bytes();
    let (mut code, mut lead_to_yes) = (Vec::new(), Vec::new());
    if !list.is_empty() {
        code.extend([
            instruction(LOAD, 0x12, 0, 0),
            instruction(MOVE, 0x23, 0, 0),
            instruction(AND, 0x03, 0, 0xffff),
            instruction(SHIFT_RIGHT, 0x02, 0, 16),
            instruction(LOAD, 0x14, 4, 0),
            instruction(LOAD, 0x15, 8, 0),
        ]);
    }
    if list.iter().any(|allowed| whole(allowed).is_some()) {
        code.extend([
            instruction(MOVE, 0x40, 0, 0),
            instruction(SHIFT_LEFT, 0x00, 0, MINOR_BITS.cast_signed()),
            instruction(OR, 0x50, 0, 0),
        ]);
    }
    let alike =
        |one: &Allowed, next: &Allowed| whole(one).is_some() && whole(next).is_some() && one.block == next.block;
    for group in list.chunk_by(alike) {
        let begin = code.len();
        let Some(first) = group.first() else { continue };
        code.push(instruction(JUMP_UNLESS, 0x03, 0, kind(first)));
        if whole(first).is_some() {
            for number in group.iter().filter_map(whole) {
                lead_to_yes.push(code.len());
                code.push(instruction(JUMP_IF, 0x00, 0, number));
            }
        } else {
            // Beyond what a device number holds nothing is equal.
            let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
            code.push(instruction(JUMP_UNLESS, 0x04, 0, number(first.major)));
            code.extend(first.minor.map(|minor| instruction(JUMP_UNLESS, 0x05, 0, number(minor))));
            if first.access != ALL {
                code.extend([
                    instruction(MOVE, 0x21, 0, 0),
                    instruction(AND, 0x01, 0, bits(first.access)),
                    instruction(JUMP_UNLESS_SAME, 0x21, 0, 0),
                ]);
            }
            code.extend([instruction(SET, 0x00, 0, 1), instruction(EXIT, 0, 0, 0)]);
        }
        // Every test that fails leads to the next group.
        let end = code.len();
        for (place, test) in code.iter_mut().enumerate().skip(begin) {
            if matches!(test[0], JUMP_UNLESS | JUMP_UNLESS_SAME) {
                [test[2], test[3]] = distance(place, end);
            }
        }
    }
    code.extend([instruction(SET, 0x00, 0, 0), instruction(EXIT, 0, 0, 0)]);
    if !lead_to_yes.is_empty() {
        let yes = code.len();
        for place in lead_to_yes {
            [code[place][2], code[place][3]] = distance(place, yes);
        }
        code.extend([instruction(SET, 0x00, 0, 1), instruction(EXIT, 0, 0, 0)]);
    }
    code.concat()
}

/// The list that such a program answers by; `None` for one that no list gives.
pub(crate) fn list_of(code: &[u8]) -> Option<Vec<Allowed>> {
    const FRESH: Allowed = Allowed { block: false, major: 0, minor: None, access: ALL };
    let (mut list, mut entry) = (Vec::new(), FRESH);
    for [code, registers, _, _, value @ ..] in code.as_chunks::<8>().0 {
        let value = i32::from_le_bytes(*value);
        match (*code, *registers) {
            (JUMP_UNLESS, 0x03) => entry.block = value == 1,
            (JUMP_UNLESS, 0x04) => entry.major = value.cast_unsigned(),
            (JUMP_UNLESS, 0x05) => entry.minor = Some(value.cast_unsigned()),
            (JUMP_IF, 0x00) => {
                let number = value.cast_unsigned();
                let minor = Some(number & ((1 << MINOR_BITS) - 1));
                list.push(Allowed { block: entry.block, major: number >> MINOR_BITS, minor, access: ALL });
            }
            (AND, 0x01) => entry.access = access(value),
            (SET, 0x00) if value == 1 => list.push(std::mem::replace(&mut entry, FRESH)),
            (SET, 0x00) => break,
            _ => {}
        }
    }
    // Whatever was passed over, and whatever order it has, is seen here.
    (program(&list) == code).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What such a program answers; `None` for one that is none.
    fn answer(program: &[u8], wanted: Allowed) -> Option<bool> {
        let minor = wanted.minor?;
        let kind = if wanted.block { 1 } else { 2 };
        let context = [kind | (bits(wanted.access) as u32) << 16, wanted.major, minor];
        let (code, rest) = program.as_chunks::<8>();
        let (mut registers, mut at) = ([0_u64; 16], 0_usize);
        // Every instruction moves on, so this many are enough.
        for _ in 0..code.len() {
            let [code, operands, low, high, value @ ..] = *code.get(at).filter(|_| rest.is_empty())?;
            let (to, from) = (usize::from(operands & 15), usize::from(operands >> 4));
            let (offset, value) = (i16::from_le_bytes([low, high]), i32::from_le_bytes(value));
            let mut jump = false;
            match code {
                LOAD if from == 1 => {
                    registers[to] = u64::from(*context.get(usize::try_from(offset).ok()? / 4)?);
                }
                MOVE => registers[to] = registers[from] & 0xffff_ffff,
                SET => registers[to] = u64::try_from(value).ok()?,
                AND => registers[to] &= u64::from(value as u32),
                SHIFT_LEFT => registers[to] = (registers[to] << (value & 31)) & 0xffff_ffff,
                OR => registers[to] |= registers[from],
                JUMP_IF => jump = registers[to] as u32 == value as u32,
                SHIFT_RIGHT => registers[to] = (registers[to] & 0xffff_ffff) >> (value & 31),
                JUMP_UNLESS => jump = registers[to] != i64::from(value) as u64,
                JUMP_UNLESS_SAME => jump = registers[to] != registers[from],
                EXIT => return Some(registers[0] != 0),
                _ => return None,
            }
            at += 1;
            if jump {
                at += usize::try_from(offset).ok()?;
            }
        }
        None
    }

    fn asked(word: &str, block: bool, major: u32, minor: u32) -> Allowed {
        Allowed { block, major, minor: Some(minor), access: word.parse().unwrap() }
    }

    #[test]
    fn the_list_is_closed() {
        let list: Vec<Allowed> = usual(Profile::Strict).chain([asked("r", true, 8, 1)]).collect();
        let program = program(&list);
        for (wanted, allowed) in [
            (asked("rw", false, 1, 3), true),
            (asked("m", false, 1, 3), true),
            (asked("rw", false, 136, 7), true),
            (asked("m", false, 136, 7), false),
            (asked("rw", false, 5, 2), true),
            (asked("r", true, 8, 1), true),
            (asked("w", true, 8, 1), false),
            (asked("rw", true, 8, 1), false),
            (asked("r", false, 8, 1), false),
            (asked("r", true, 8, 0), false),
            (asked("r", false, 1, 1), false),
            (asked("r", false, 10, 229), false),
        ] {
            assert_eq!(answer(&program, wanted), Some(allowed), "{wanted}");
        }
        assert_eq!(list_of(&program[..16]), None, "no end");
        assert_eq!(answer(&super::program(&[]), asked("r", false, 1, 3)), Some(false));
        assert!(program.len() / 8 < 45, "{} instructions", program.len() / 8);
    }

    #[test]
    fn numbers_that_no_device_has_are_nobodys() {
        let whole = |major, minor| Allowed { access: ALL, ..asked("r", false, major, minor) };
        // As one word these would be 2:3, 0:3 and 1:0.
        for (major, minor) in [(1, (1 << 20) + 3), (1 << 12, 3), (0, 1 << 20)] {
            let program = program(&[whole(major, minor), whole(4095, (1 << 20) - 1)]);
            for (major, minor) in [(2, 3), (0, 3), (1, 0), (1, 3)] {
                assert_eq!(answer(&program, asked("r", false, major, minor)), Some(false), "{major}:{minor}");
            }
            assert_eq!(answer(&program, asked("r", false, 4095, (1 << 20) - 1)), Some(true));
            assert_eq!(list_of(&program).map(|list| list.len()), Some(2));
        }
    }

    #[test]
    fn a_list_without_end_is_a_program() {
        let many = (0..40_000).map(|minor| Allowed { access: ALL, ..asked("r", false, 240, minor) });
        let list: Vec<Allowed> = many.collect();
        let program = program(&list);
        for (minor, allowed) in [(0, true), (39_999, true), (40_000, false)] {
            assert_eq!(answer(&program, asked("rw", false, 240, minor)), Some(allowed), "{minor}");
        }
        assert_eq!(list_of(&program), Some(list));
    }

    proptest! {
        /// The program says what the list says, for every list.
        #[test]
        fn the_program_is_the_list(
            list in prop::collection::vec((any::<bool>(), 0_u32..6, prop::option::of(0_u32..6), 1_i32..8), 0..8),
            (block, major, minor, access) in (any::<bool>(), 0_u32..6, 0_u32..6, 1_i32..8),
        ) {
            let of = super::access;
            let list: Vec<Allowed> = list
                .into_iter()
                .map(|(block, major, minor, bits)| Allowed { block, major, minor, access: of(bits) })
                .collect();
            let wanted = Allowed { block, major, minor: Some(minor), access: of(access) };
            let fits = |one: &Allowed| {
                one.block == block
                    && one.major == major
                    && one.minor.is_none_or(|own| own == minor)
                    && access & !bits(one.access) == 0
            };
            let program = program(&list);
            prop_assert_eq!(answer(&program, wanted), Some(list.iter().any(fits)));
            prop_assert_eq!(list_of(&program), Some(list));
        }

        /// A program that another byte stands in is that of another list, or of none.
        #[test]
        fn no_other_program_is_that_of_a_list(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let list: Vec<Allowed> = usual(Profile::Strict).collect();
            let mut program = program(&list);
            let place = place.index(program.len());
            let same = std::mem::replace(&mut program[place], byte) == byte;
            prop_assert_eq!(list_of(&program).is_some_and(|read| read == list), same);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(list_of(&bytes), None);
        }
    }
}
