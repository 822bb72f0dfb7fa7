//! Try.
fn main() {
    let mut args = std::env::args_os().skip(1);
    let mut command = skep::Command::new(args.next().unwrap_or("id".into()));
    command.args(args);
    if std::env::var_os("PLAN").is_some() {
        let plan = command.plan().unwrap();
        if std::env::var_os("V").is_some() { println!("{}", plan.verbose()); } else { println!("{plan}"); }
        return;
    }
    match command.output() {
        Ok(output) => {
            println!("{}\n--\n{}\n--\n{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => println!("error: {error}"),
    }
}
