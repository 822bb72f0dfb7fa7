//! Ids, capabilities and what else is of a process alone (`prctl(2)`).

use super::words::{Word, ask, done};
use crate::abi::{self, CapData, CapHeader, CapabilitySet, SecureBits};
use crate::errno::Errno;
use crate::raw::nr;

pub(super) const PR_GET_DUMPABLE: u64 = 3;
pub(super) const PR_SET_DUMPABLE: u64 = 4;
const PR_CAPBSET_READ: u64 = 23;
const PR_CAPBSET_DROP: u64 = 24;
const PR_GET_SECUREBITS: u64 = 27;
pub(super) const PR_SET_SECUREBITS: u64 = 28;
pub(super) const PR_SET_NO_NEW_PRIVS: u64 = 38;
const PR_GET_NO_NEW_PRIVS: u64 = 39;
const PR_CAP_AMBIENT: u64 = 47;
pub(super) const PR_SET_MDWE: u64 = 65;
pub(super) const PR_MDWE_REFUSE_EXEC_GAIN: u64 = 1;
const PR_CAP_AMBIENT_IS_SET: u64 = 1;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;

pub(super) fn prctl(option: u64, [one, two]: [u64; 2]) -> Result<usize, Errno> {
    ask(nr::PRCTL, [Word::number(option), Word::number(one), Word::number(two), Word::NULL, Word::NULL])
}

pub(super) fn drop_bounding(keep: CapabilitySet) -> Result<(), Errno> {
    for number in 0..64_u8 {
        if keep.has(number) {
            continue;
        }
        match prctl(PR_CAPBSET_DROP, [u64::from(number), 0]) {
            Ok(_) => {}
            // Beyond the last capability of this kernel. Below any that was
            // kept it would be a lie, and the proof of credentials finds it.
            Err(Errno::EINVAL) if number > 0 => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn set_capabilities(
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
) -> Result<(), Errno> {
    let header = CapHeader { version: abi::CAP_VERSION, pid: 0 };
    let data = CapData {
        effective_low: effective.0 as u32,
        permitted_low: permitted.0 as u32,
        inheritable_low: inheritable.0 as u32,
        effective_high: (effective.0 >> 32) as u32,
        permitted_high: (permitted.0 >> 32) as u32,
        inheritable_high: (inheritable.0 >> 32) as u32,
    };
    done(ask(nr::CAPSET, [Word::of(&header), Word::of(&data)]))
}

/// Clears it, and raises one after the other.
pub(super) fn set_ambient(capabilities: CapabilitySet) -> Result<(), Errno> {
    prctl(PR_CAP_AMBIENT, [PR_CAP_AMBIENT_CLEAR_ALL, 0])?;
    (0..64_u8)
        .filter(|number| capabilities.has(*number))
        .try_for_each(|number| prctl(PR_CAP_AMBIENT, [PR_CAP_AMBIENT_RAISE, u64::from(number)]).map(drop))
}

#[derive(PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) ids: [u32; 6],
    pub(super) effective: CapabilitySet,
    pub(super) permitted: CapabilitySet,
    pub(super) inheritable: CapabilitySet,
    pub(super) bounding: CapabilitySet,
    pub(super) ambient: CapabilitySet,
    pub(super) securebits: SecureBits,
    pub(super) no_new_privs: bool,
}

impl Credentials {
    pub(super) fn read() -> Result<Self, Errno> {
        let (mut uids, mut gids) = ([[0_u32; 1]; 3], [[0_u32; 1]; 3]);
        let [real, effective, saved] = &mut uids;
        ask(nr::GETRESUID, [Word::of_mut(real), Word::of_mut(effective), Word::of_mut(saved)])?;
        let [real, effective, saved] = &mut gids;
        ask(nr::GETRESGID, [Word::of_mut(real), Word::of_mut(effective), Word::of_mut(saved)])?;
        let header = CapHeader { version: abi::CAP_VERSION, pid: 0 };
        // If nobody fills this in, it is no set that a kernel has.
        const NO: u32 = u32::MAX;
        let mut data = CapData {
            effective_low: NO,
            permitted_low: NO,
            inheritable_low: NO,
            effective_high: NO,
            permitted_high: NO,
            inheritable_high: NO,
        };
        ask(nr::CAPGET, [Word::of(&header), Word::of_mut(&mut data)])?;
        let whole = |low: u32, high: u32| CapabilitySet(u64::from(low) | u64::from(high) << 32);
        let permitted = whole(data.permitted_low, data.permitted_high);
        let inheritable = whole(data.inheritable_low, data.inheritable_high);
        let (mut bounding, mut ambient) = (CapabilitySet::EMPTY, CapabilitySet::EMPTY);
        for number in 0..64_u8 {
            match prctl(PR_CAPBSET_READ, [u64::from(number), 0]) {
                Ok(0) => {}
                Ok(_) => bounding = bounding.with(number),
                Err(Errno::EINVAL) => break,
                Err(errno) => return Err(errno),
            }
            // No other can be ambient, says capabilities(7).
            let possible = permitted.has(number) && inheritable.has(number);
            if possible && prctl(PR_CAP_AMBIENT, [PR_CAP_AMBIENT_IS_SET, u64::from(number)])? != 0 {
                ambient = ambient.with(number);
            }
        }
        Ok(Self {
            ids: [uids[0][0], uids[1][0], uids[2][0], gids[0][0], gids[1][0], gids[2][0]],
            effective: whole(data.effective_low, data.effective_high),
            permitted,
            inheritable,
            bounding,
            ambient,
            securebits: SecureBits(prctl(PR_GET_SECUREBITS, [0, 0])? as u32),
            no_new_privs: prctl(PR_GET_NO_NEW_PRIVS, [0, 0])? == 1,
        })
    }
}
