//! `skep exec` and `skep shell`: a further command in a container that runs.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use skep::spec::User;
use skep::sys::abi::signal;
use skep::{Exec, Found, Process, Stdio};

use crate::console::{self, Mode};
use crate::events::Events;
use crate::inherited::Inherited;
use crate::message::{Failure, quoted, say};
use crate::run::{Signals, attend};
use crate::typed::Typed;
use crate::{containers, values};

/// Runs the verb.
pub(crate) fn run(mut typed: Typed) -> Result<ExitCode, Failure> {
    let inherited = Inherited::take(&typed)?;
    let found = containers::named(&typed, "exec")?;
    let mut words = typed.words.split_off(1);
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    if words.is_empty() {
        return Err(Failure::new("the command is missing; write skep exec NAME -- COMMAND"));
    }
    let session = Session::new(&mut typed)?;
    let mut exec = session.prepared(&typed, &found, &words)?;
    if let Some(user) = &typed.user {
        Accounts::of(&found).become_user(&mut exec, user)?;
    }
    variables(&mut exec, &typed);
    for (number, file) in inherited.passed {
        exec.fd(number, file);
    }
    session.attend(exec.spawn()?, &found)
}

/// `skep shell [USER@]NAME [COMMAND ARGS…]`
pub(crate) fn shell(mut typed: Typed) -> Result<ExitCode, Failure> {
    // No name of a container holds an `@`.
    let first = typed.words.first().and_then(|word| word.to_str()?.rsplit_once('@'));
    if let Some((user, name)) = first.map(|(user, name)| (user.to_owned(), OsString::from(name))) {
        typed.user = Some(values::user(&user).map_err(|bad| Failure::new(bad.to_string()))?);
        typed.words[0] = name;
    }
    let found = containers::named(&typed, "shell")?;
    let session = Session::new(&mut typed)?;
    let accounts = Accounts::of(&found);
    let known = match &typed.user {
        Some(user) => accounts.known(user),
        None => accounts.known(&User::Ids { uid: found.uid()?, gid: 0 }),
    };
    let absolute = |path: &&str| path.starts_with('/');
    let program = known.as_ref().map(|known| known.shell).filter(absolute).unwrap_or("/bin/sh");
    let home = known.as_ref().map(|known| known.home).filter(absolute);
    let words = match typed.words.get(1..) {
        Some(words @ [_, ..]) => words.to_vec(),
        _ => vec![program.into(), "-l".into()],
    };
    let start = |directory: Option<&str>| {
        let mut exec = session.prepared(&typed, &found, &words)?;
        match (&typed.user, &known) {
            (Some(user), _) => accounts.become_user(&mut exec, user)?,
            (None, Some(known)) => known.variables(&mut exec),
            (None, None) => {}
        }
        exec.env("SHELL", program);
        if let (None, Some(directory)) = (&typed.working_directory, directory) {
            exec.current_dir(directory);
        }
        variables(&mut exec, &typed);
        exec.spawn().map_err(Failure::from)
    };
    // As login(1): where there is no home, it is the root.
    let process = start(home).or_else(|failure| home.map_or(Err(failure), |_| start(None)))?;
    session.attend(process, &found)
}

/// What a process is carried by to its end.
struct Session {
    mode: Mode,
    events: Events,
    signals: Signals,
}

impl Session {
    fn new(typed: &mut Typed) -> Result<Self, Failure> {
        // It says nothing of its own.
        typed.quiet = true;
        let mode = Mode::of(typed);
        Ok(Self { mode, events: Events::new(typed)?, signals: Signals::new(mode)? })
    }

    fn prepared<'f>(&self, typed: &Typed, found: &'f Found, words: &[OsString]) -> Result<Exec<'f>, Failure> {
        let Some((program, arguments)) = words.split_first() else { return Err(Failure::new("no command")) };
        let mut exec = found.exec(program);
        exec.args(arguments);
        if let Some(directory) = &typed.working_directory {
            exec.current_dir(directory);
        }
        streams(&mut exec, self.mode);
        Ok(exec)
    }

    fn attend(self, process: Process, found: &Found) -> Result<ExitCode, Failure> {
        let code = attend(process, self.mode, self.signals, &self.events)?;
        // Who ends all kills each; the first process is the last to go.
        if code == KILLED && matches!(found.wait_timeout(Duration::from_millis(200)), Ok(Some(_))) {
            say(format_args!("skep: the container {} has ended, and with it this command", found.machine()));
        }
        Ok(ExitCode::from(code))
    }
}

const KILLED: u8 = 128 + signal::KILL;

/// The variables of the command line, which win.
fn variables(exec: &mut Exec<'_>, typed: &Typed) {
    for (name, value) in &typed.environment {
        match value {
            Some(value) => _ = exec.env(name, value.reveal()),
            None => {
                let Some(own) = std::env::var_os(name) else { continue };
                exec.env(name, own);
            }
        }
    }
}

/// The container's own `passwd(5)` and `group(5)`. What stands there chooses among
/// the container's ids only.
struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    fn of(found: &Found) -> Self {
        let text = |path| String::from_utf8_lossy(&found.read_file(path, 1 << 20).unwrap_or_default()).into_owned();
        Self { passwd: text("/etc/passwd"), group: text("/etc/group") }
    }

    fn known(&self, user: &User) -> Option<Account<'_>> {
        self.passwd.lines().filter_map(Account::of).find(|known| match user {
            User::Name(name) => known.name == name,
            User::Ids { uid, .. } => known.uid == *uid,
            _ => false,
        })
    }

    /// The supplementary groups of a user.
    fn groups(&self, name: &str) -> Vec<u32> {
        let of = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields.as_slice() else { return None };
            members.split(',').any(|member| member == name).then(|| gid.parse().ok())?
        };
        self.group.lines().filter_map(of).collect()
    }

    /// The user of `--uid=`, with the variables of one.
    fn become_user(&self, exec: &mut Exec<'_>, user: &User) -> Result<(), Failure> {
        let known = self.known(user);
        match (user, &known) {
            (User::Ids { uid, gid }, _) => exec.user(*uid, *gid),
            (_, Some(known)) => exec.user(known.uid, known.gid),
            (User::Name(name), None) => {
                let what = "is not in the container's /etc/passwd; give its UID or UID:GID";
                return Err(Failure::new(format!("--uid=: user {} {what}", quoted(name))));
            }
            _ => return Err(Failure::new("--uid=: not a user of this version; give UID or UID:GID")),
        };
        let by_name = matches!(user, User::Name(_));
        exec.groups(known.iter().filter(|_| by_name).flat_map(|known| self.groups(known.name)));
        known.into_iter().for_each(|known| known.variables(exec));
        Ok(())
    }
}

/// A line of `passwd(5)`.
#[derive(PartialEq, Eq, Debug)]
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

impl<'a> Account<'a> {
    fn variables(&self, exec: &mut Exec<'_>) {
        exec.env("USER", self.name).env("LOGNAME", self.name);
        if self.home.starts_with('/') {
            exec.env("HOME", self.home);
        }
    }

    fn of(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell, ..] = fields.as_slice() else { return None };
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home, shell })
    }
}

fn streams(exec: &mut Exec<'_>, mode: Mode) {
    if mode.has_terminal() {
        let size = console::own_size().unwrap_or_default();
        exec.terminal(size.rows, size.columns).env("TERM", console::own_kind());
    } else if mode == Mode::Pipe {
        exec.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd() {
        let found = Account::of("www-data:x:33:34:www:/var/www:/usr/sbin/nologin");
        assert_eq!(
            found,
            Some(Account { name: "www-data", uid: 33, gid: 34, home: "/var/www", shell: "/usr/sbin/nologin" })
        );
        for odd in ["", "a:b", "a:x:-1:0::/:", "a:x:1:4294967296::/:"] {
            assert_eq!(Account::of(odd), None, "{odd}");
        }
    }

    #[test]
    fn groups_of_a_name() {
        let group = "root:x:0:\nadm:x:4:syslog,www\nodd\nx:x:y:www\nwww:x:33:\nbig:x:7:wwww,www\n".to_owned();
        let accounts = Accounts { passwd: String::new(), group };
        assert_eq!(accounts.groups("www"), [4, 7]);
        assert_eq!(accounts.groups(""), [0, 33], "which is nobody's name");
    }
}
