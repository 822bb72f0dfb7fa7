//! What a container printed, how it ended, and what it was held by.
//!
//! The start gives a report: one line for every item of the hardening, also
//! for what this host does not support or the caller has switched off. So a
//! program can insist on what it needs, and log the rest.

use skep::{Command, Outcome, Stdio};

fn main() -> skep::Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "echo to be kept; echo a complaint >&2; exit 3"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());

    // As in std: `spawn` returns once the program has been executed.
    let container = command.spawn()?;
    let report = container.report().clone();
    let output = container.wait_with_output()?;

    // Bytes of a container are not to be trusted: Debug escapes them.
    println!("stdout: {:?}", String::from_utf8_lossy(&output.stdout));
    println!("stderr: {:?}", String::from_utf8_lossy(&output.stderr));
    println!("status: {}", output.status);

    println!("\n{report}");
    for item in report.items() {
        if let Outcome::Unsupported(why) = &item.outcome {
            println!("not on this host: {}: {why}", item.name);
        }
    }
    Ok(())
}
