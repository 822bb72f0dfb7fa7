//! What the bytes of a filter let through.

use skep_sys::{Op, OpKind};

use super::Findings;
use crate::plan::Phase;
use crate::report::Outcome;
use crate::seccomp::{Arch, Program, floor};
use crate::verify::view::View;

pub(super) fn floor_as_reported(view: &View<'_>, found: &mut Findings) {
    let item = view.plan.report().of("system-call floor");
    let Some(seen) = view.line(Phase::Payload).first(OpKind::Seccomp) else {
        return found.unless(
            matches!(item, Some(Outcome::Off(_))),
            "there is no filter, and the report says that its floor holds",
        );
    };
    let Op::Seccomp { program, .. } = seen.op else { return };
    let Ok(program) = Program::from_bytes(program.0) else {
        return found.at(seen, "is no filter that the kernel takes");
    };
    let open = floor::opened(&program, Arch::NATIVE);
    let named = |call: &str| matches!(item, Some(Outcome::Off(text)) if text.split(' ').any(|word| word == call));
    for call in open.iter().filter(|call| !named(call)) {
        found.at(seen, format!("lets {call} through, which the report does not say"));
    }
    found.unless(
        item.is_some() && open.is_empty() == matches!(item, Some(Outcome::Applied(_))),
        "the report says of the filter's floor what is not",
    );
}
