//! The first container: the host's programs, nothing else of the host.

fn main() -> skep::Result<()> {
    let output = skep::Command::new("id").output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
