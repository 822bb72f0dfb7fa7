//! `skep plan`: prints the program that `skep run` would run.

use std::process::ExitCode;

use skep::{Command, Stdio};

use crate::message::{Failure, print};
use crate::typed::Typed;

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    let (json, verbose) = (typed.json, typed.verbose);
    let mut command = Command::from(crate::meaning::spec(typed)?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let plan = command.plan()?;
    match (json, verbose) {
        (true, _) => print(format_args!("{:#}\n", plan.to_json())),
        (false, true) => print(plan.verbose()),
        (false, false) => print(&plan),
    }?;
    Ok(ExitCode::SUCCESS)
}
