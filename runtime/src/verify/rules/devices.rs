//! Which devices a policy allows.

use skep_sys::{Op, OpKind};

use super::Findings;
use super::files::is_cgroup;
use crate::compile::device_policy;
use crate::plan::Phase;
use crate::report::Outcome;
use crate::verify::view::View;

/// What a policy may allow: the usual devices, and those of the report.
fn listed_devices(view: &View<'_>) -> Vec<String> {
    let named = view.plan.report().items().iter().filter_map(|item| match &item.outcome {
        Outcome::Applied(detail) if item.name.starts_with("device /") => Some(detail.clone()),
        _ => None,
    });
    device_policy::usual(view.profile()).map(|allowed| allowed.to_string()).chain(named).collect()
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

/// Whether a program allows nothing but what is listed. It is held whole against
/// the list that it says, so no device number need be tried.
fn is_closed(program: &[u8], listed: &[String]) -> bool {
    let within = |allowed: &device_policy::Allowed| {
        let text = allowed.to_string();
        let Some((device, access)) = text.rsplit_once(' ') else { return false };
        listed
            .iter()
            .filter_map(|line| line.rsplit_once(' '))
            .any(|(listed, most)| listed == device && access.chars().all(|one| most.contains(one)))
    };
    device_policy::list_of(program).is_some_and(|list| list.iter().all(within))
}
