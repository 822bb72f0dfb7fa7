//! `skep plan`: prints the program that `skep run` would run, or what differs
//! in two of them.

use std::process::ExitCode;

use skep::spec::Spec;
use skep::{Facts, Plan, compile, verify};

use crate::console::Mode;
use crate::diff;
use crate::message::{Failure, Paint, print};
use crate::typed::Typed;

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    let (json, verbose, report) = (typed.json, typed.verbose, typed.report);
    if typed.diff {
        let [one, other] = diff::pair(typed)?;
        let found = diff::Changes::between(&one.plan, &other.plan);
        if json {
            print(format_args!("{:#}\n", found.to_json()))?;
        } else {
            print(found.to_text([&one.name, &other.name], verbose, Paint::stdout()))?;
        }
        return Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (plan, _) = planned(typed, None)?;
    match (json, verbose) {
        (true, _) => print(format_args!("{:#}\n", plan.to_json())),
        (false, true) => print(plan.verbose()),
        (false, false) => print(&plan),
    }?;
    if report && !json {
        print(format_args!("\n{}", plan.report()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The plan of what was typed, with its Spec; with the command `otherwise`
/// where none was named.
pub(crate) fn planned(typed: Typed, otherwise: Option<&str>) -> Result<(Plan, Spec), Failure> {
    let mode = Mode::of(&typed);
    let mut spec = crate::meaning::spec(typed)?;
    mode.set(&mut spec);
    if spec.command.is_empty() {
        spec.command.extend(otherwise.map(Into::into));
    }
    let plan = compile(&spec, &Facts::gather(&spec)?)?;
    Ok((verified(plan)?, spec))
}

pub(crate) fn verified(plan: Plan) -> skep::Result<Plan> {
    verify(plan).map(|verified| verified.plan().clone())
}
