//! Which devices a policy allows.

use skep_sys::{Op, OpKind};

use super::Findings;
use super::files::is_cgroup;
use crate::compile::device_policy;
use crate::plan::Phase;
use crate::report::Outcome;
use crate::spec::DeviceAccess;
use crate::verify::view::View;

/// What a policy may allow: the usual devices, and those of the report.
fn listed_devices(view: &View<'_>) -> Vec<String> {
    let named = view.plan.report().items().iter().filter_map(|item| match &item.outcome {
        Outcome::Applied(detail) if item.name.starts_with("device /") => Some(detail.clone()),
        _ => None,
    });
    device_policy::usual().map(|allowed| allowed.to_string()).chain(named).collect()
}

pub(super) fn devices_closed(view: &View<'_>, found: &mut Findings) {
    let listed = listed_devices(view);
    let mut denied = Vec::new();
    let mut applied = false;
    for seen in view.of_in(OpKind::Write, Phase::Prepare) {
        let Op::Write { path, content, .. } = seen.op else { continue };
        if path == c"devices.deny" {
            denied.push(seen.on);
            if content.0 != b"a" {
                found.at(seen, "denies some devices only");
            }
        } else if path == c"devices.allow" {
            applied = true;
            let text = String::from_utf8_lossy(content.0);
            if !denied.contains(&seen.on) {
                found.at(seen, "allows a device before all others are denied");
            } else if !listed.iter().any(|line| *line == text) {
                found.at(seen, "allows a device that the report does not name");
            }
        }
    }
    for seen in view.of(OpKind::BpfAttach) {
        applied = true;
        let program = view.maker(seen.onto).map(|maker| maker.op);
        let Some(Op::BpfDevice { program, .. }) = program else {
            found.at(seen, "attaches what is no program for devices");
            continue;
        };
        if !is_cgroup(view, seen.on, seen.at) {
            found.at(seen, "limits what is not proved to be a cgroup");
        }
        if !is_closed(program.0, &listed) {
            found.at(seen, "allows a device that the report does not name");
        }
    }
    for seen in view.of(OpKind::BpfDevice) {
        if !view.of(OpKind::BpfAttach).any(|attach| attach.onto == seen.made) {
            found.at(seen, "loads a program that limits nothing");
        }
    }
    let reported = matches!(view.plan.report().of(device_policy::ITEM), Some(Outcome::Applied(_)));
    found.unless(reported == applied, "the report and the plan differ about the device policy");
}

/// Whether a program allows nothing but what is listed: asked about every
/// device that a host is likely to have, and about their neighbours.
fn is_closed(program: &[u8], listed: &[String]) -> bool {
    let words = [("r", true, false, false), ("w", false, true, false), ("m", false, false, true)];
    let allowed = |line: &str, number: &str, letter: &str| {
        let mut parts = line.rsplitn(2, ' ');
        let (access, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let every = name.strip_suffix('*').is_some_and(|prefix| number.starts_with(prefix));
        (name == number || every) && access.contains(letter)
    };
    [false, true].into_iter().all(|block| {
        (0..=260_u32).all(|major| {
            let minors: &[u32] = if major == 10 || major == 1 { &TEN } else { &[0, 1, 2, 3] };
            minors.iter().all(|minor| {
                let number = format!("{} {major}:{minor}", if block { 'b' } else { 'c' });
                words.iter().all(|(letter, read, write, mknod)| {
                    let access = DeviceAccess { read: *read, write: *write, mknod: *mknod };
                    let wanted = device_policy::Allowed { block, major, minor: Some(*minor), access };
                    match device_policy::answer(program, wanted) {
                        Some(true) => listed.iter().any(|line| allowed(line, &number, letter)),
                        Some(false) => true,
                        None => false,
                    }
                })
            })
        })
    })
}

/// Minor numbers of memory and of miscellaneous devices.
const TEN: [u32; 20] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 58, 130, 135, 183, 200, 228, 229, 232, 234, 255];
