//! `skep plan`: prints the program that `skep run` would run.

use std::process::ExitCode;

use skep::{Command, Stdio};

use crate::message::{Failure, print};
use crate::typed::Typed;

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    let (json, verbose, report) = (typed.json, typed.verbose, typed.report);
    let stdio = if typed.pipe { Stdio::inherit } else { Stdio::piped };
    let mut command = Command::from(crate::meaning::spec(typed)?);
    command.stdin(stdio()).stdout(stdio()).stderr(stdio());
    let plan = command.plan()?;
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
