//! A small tree, and what `skep nspawn` makes of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use skep_tests::Scratch;

use crate::stand::{SKEP, is_root, skip};

/// A small tree, on which the host's `/usr` is bound.
pub(crate) struct Tree {
    pub(crate) scratch: Scratch,
    pub(crate) root: PathBuf,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) const ALWAYS: [&str; 6] = ["nspawn", "--register=no", "--keep-unit", "-q", "--pipe", "--bind-ro=/usr"];

pub(crate) fn run(words: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(SKEP);
    command.args(words).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

impl Tree {
    /// `None`, and the reason printed, where nobody could run it.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() {
            skip("the profile nspawn is root's");
            return None;
        }
        let scratch = Scratch::new();
        let root = scratch.tree();
        std::fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
        Some(Self { scratch, root })
    }

    /// A user of the host that the tree, which has users, lacks; `None`, and the reason
    /// printed, where there is none.
    pub(crate) fn user_of_host(&self) -> Option<String> {
        let Some((user, _)) = skep_tests::ordinary_user() else {
            skip("no user of this host has a home and a group of its own");
            return None;
        };
        std::fs::write(self.root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        Some(user)
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        let root = self.root.to_str().unwrap();
        run(&[&ALWAYS[..], &["-D", root], words].concat(), &[])
    }

    /// What a shell script prints; panics with its error output.
    pub(crate) fn says(&self, options: &[&str], script: &str) -> String {
        let ran = self.run(&[options, &["/bin/sh", "-c", script]].concat());
        assert_eq!(ran.code, Some(0), "{options:?}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// An error that says something, and nothing that ran.
    #[track_caller]
    pub(crate) fn refuses(&self, options: &[&str]) {
        let ran = self.run(&[options, &["/bin/echo", "ran"]].concat());
        refused(&ran, options);
    }
}

#[track_caller]
pub(crate) fn refused(ran: &Ran, words: &[&str]) {
    assert!(ran.code == Some(1) && ran.stderr.starts_with("skep: ") && ran.stdout.is_empty(), "{words:?}: {ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{words:?}: {ran:?}");
}
