//! Settings files that are looked for: by the machine's name, where
//! `systemd-nspawn` keeps them, with what each place is trusted with, and merged
//! with the options as it does, category by category.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use skep::dialect::nspawn::{self, Category, Loaded, LookupError, Scope, SettingsMode};
use skep::spec::{MachineName, Origin, Profile};
use skep::sys::abi::CapabilitySet;
use skep::{Escaped, Spec};

use crate::message::{Failure, say};
use crate::typed::{Typed, TypedLinks};

/// An option, or several of a kind.
trait Given {
    fn is_given(&self) -> bool;
    fn forget(&mut self);
}

impl<T> Given for Option<T> {
    fn is_given(&self) -> bool {
        self.is_some()
    }

    fn forget(&mut self) {
        *self = None;
    }
}

impl<T> Given for Vec<T> {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }

    fn forget(&mut self) {
        self.clear();
    }
}

impl Given for CapabilitySet {
    fn is_given(&self) -> bool {
        *self != Self::EMPTY
    }

    fn forget(&mut self) {
        *self = Self::EMPTY;
    }
}

impl Given for TypedLinks {
    fn is_given(&self) -> bool {
        !self.options().is_empty()
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Which options belong to which category.
macro_rules! categories {
    ($($category:ident: $($field:ident)+;)*) => {
        fn touched_by_fields(typed: &Typed, all: &mut BTreeSet<Category>) {
            $($(if typed.$field.is_given() {
                all.insert(Category::$category);
            })+)*
        }

        fn forget_fields(typed: &mut Typed, all: &BTreeSet<Category>) {
            $(if all.contains(&Category::$category) {
                $(typed.$field.forget();)+
            })*
        }
    };
}

categories! {
    StartMode: init boot words;
    User: user;
    Capabilities: capability drop_capability ambient_capability;
    KillSignal: kill_signal;
    Personality: personality;
    Network: network network_path links;
    Ports: ports;
    Mounts: mounts masked;
    WorkingDirectory: working_directory;
    UserNamespace: user_namespace ownership;
    Readiness: readiness;
    PivotRoot: pivot_root;
    SystemCallFilter: system_calls;
    AddressFamilies: address_families;
    Hostname: hostname;
    NoNewPrivileges: no_new_privileges;
    SuppressSync: suppress_sync;
    OomScoreAdjust: oom_score_adjust;
    CpuAffinity: cpu_affinity;
    ResolvConf: resolv_conf;
    Timezone: timezone;
    Ephemeral: ephemeral;
    ReadOnly: read_only;
    Volatile: volatile;
    LinkJournal: link_journal;
    BindUser: bind_users;
    BindUserShell: bind_user_shell;
}

/// `--uuid=` is a variable of the environment, and a category of its own.
fn category_of(variable: &str) -> Category {
    if variable == "container_uuid" { Category::MachineId } else { Category::Environment }
}

/// What the command line says itself.
fn touched(typed: &Typed) -> BTreeSet<Category> {
    let mut all = BTreeSet::new();
    touched_by_fields(typed, &mut all);
    all.extend(typed.environment.iter().map(|(name, _)| category_of(name)));
    all.extend(typed.limits.iter().map(|(resource, _)| Category::Limit(*resource)));
    all
}

/// What `touched` finds, without what adds up.
fn replaced(typed: &Typed) -> BTreeSet<Category> {
    let mut all = touched(typed);
    if typed.additive {
        use Category::{AddressFamilies, Capabilities, Environment, Mounts, Ports, SystemCallFilter};
        all.retain(|category| {
            !matches!(category, Environment | Capabilities | Mounts | SystemCallFilter | AddressFamilies | Ports)
        });
    }
    all
}

/// What the command line has no say in, for a file has it.
fn forget(typed: &mut Typed, all: &BTreeSet<Category>) {
    forget_fields(typed, all);
    typed.environment.retain(|(name, _)| !all.contains(&category_of(name)));
    typed.limits.retain(|(resource, _)| !all.contains(&Category::Limit(*resource)));
}

/// Where a user keeps settings.
fn scope() -> Scope {
    if geteuid().is_root() {
        return Scope::System;
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config"))) {
        Some(config) => Scope::User { config, runtime: absolute("XDG_RUNTIME_DIR") },
        None => Scope::System,
    }
}

/// Settings that are to be laid over the profile.
pub(crate) struct Found(Loaded);

/// Looks for them, and takes out of each side what is the other's alone. `root` is
/// the tree that was named. The profile `strict` looks for none unless it is asked to.
pub(crate) fn find(
    typed: &mut Typed,
    name: Option<&MachineName>,
    root: Option<&Path>,
) -> Result<Option<Found>, Failure> {
    let mode = match (typed.settings, typed.profile) {
        (Some(mode), _) => mode,
        (None, Some(Profile::Nspawn)) if typed.file.is_none() => SettingsMode::Yes,
        _ => SettingsMode::No,
    };
    if mode == SettingsMode::No {
        return Ok(None);
    }
    if mode.file_wins() && typed.additive {
        let what = "--merge=additive: with --settings=override the file's word is the last";
        return Err(Failure::new(format!("{what}; leave one of them out")));
    }
    if typed.file.is_some() {
        return Err(Failure::new("--settings=: --settings-file= names the file already; leave one of them out"));
    }
    let Some(name) = name else {
        return match typed.settings {
            Some(_) => Err(Failure::new("--settings=: settings are looked for by name; give one with --machine=NAME")),
            None => Ok(None),
        };
    };
    let places = nspawn::candidates(name, root, &scope(), mode);
    let Some((_, loaded)) = nspawn::find(&places).map_err(|error| match error {
        LookupError::Problems(problems) => problems.into(),
        other => Failure::new(other.to_string()),
    })?
    else {
        return Ok(None);
    };
    let loaded = match loaded {
        Loaded::Trusted(settings) if mode.file_wins() => {
            forget(typed, &settings.categories());
            Loaded::Trusted(settings)
        }
        Loaded::Untrusted(settings) if mode.file_wins() => {
            forget(typed, &settings.categories());
            Loaded::Untrusted(settings)
        }
        Loaded::Trusted(settings) => Loaded::Trusted(settings.without(&replaced(typed))),
        Loaded::Untrusted(settings) => Loaded::Untrusted(settings.without(&replaced(typed))),
        other => other,
    };
    if let Loaded::Untrusted(settings) = &loaded {
        settings.ignored.iter().for_each(|origin| warn(origin, typed.json));
    }
    Ok(Some(Found(loaded)))
}

fn warn(origin: &Origin, json: bool) {
    let origin = origin.to_string();
    let what =
        format!("{} has no effect: a file beside the tree is not trusted (--settings=trusted)", Escaped::new(&origin));
    if json {
        say(serde_json::json!({ "event": "warning", "message": what }));
    } else {
        say(format_args!("skep: warning: {what}"));
    }
}

impl Found {
    /// Lays them over `spec`.
    pub(crate) fn apply(&self, spec: &mut Spec) -> Result<(), Failure> {
        match &self.0 {
            Loaded::Trusted(settings) => settings.apply(spec)?,
            Loaded::Untrusted(settings) => settings.apply(spec),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use crate::verbs::Verb;

    /// A tree with a settings file beside it, removed at the end.
    struct Beside(PathBuf);

    impl Beside {
        fn new(name: &str, text: &str) -> Self {
            let top = std::env::temp_dir().join(format!("skep-settings-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&top);
            std::fs::create_dir_all(top.join("skep-test-tree")).expect("a tree");
            std::fs::write(top.join("skep-test-tree.nspawn"), text).expect("a file");
            Self(top)
        }

        fn spec(&self, words: &[&str]) -> Result<Spec, Failure> {
            let tree = self.0.join("skep-test-tree").display().to_string();
            let words = ["-D", &tree].into_iter().chain(words.iter().copied());
            crate::meaning::spec(parse(Verb::Plan, words.map(Into::into))?)
        }

        fn of(&self, words: &[&str]) -> Spec {
            self.spec(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
        }
    }

    impl Drop for Beside {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn hostname(spec: &Spec) -> Option<&str> {
        spec.hostname.as_ref().map(|name| name.as_str())
    }

    const TEXT: &str = "[Exec]\nHostname=file\nEnvironment=A=1\nLimitCORE=7\nDropCapability=CAP_KILL\n[Files]\nBind=/a\nReadOnly=yes\n";

    #[test]
    fn it_is_looked_for_where_that_was_asked_and_trusted_by_place() {
        let beside = Beside::new("place", TEXT);
        for words in [&["true"][..], &["--settings=no", "true"], &["--profile=nspawn", "--settings=no", "true"]] {
            assert_eq!(hostname(&beside.of(words)), None, "{words:?}");
        }
        // Not by another name.
        assert_eq!(hostname(&beside.of(&["--settings=yes", "-M", "skep-test-other", "true"])), None);
        for words in [&["--settings=yes", "true"][..], &["--profile=nspawn", "true"], &["--settings=override", "true"]]
        {
            let spec = beside.of(words);
            assert_eq!(hostname(&spec), Some("file"), "{words:?}");
            assert!(spec.root.read_only && spec.mounts.is_empty() && spec.limits.iter().count() == 0, "{words:?}");
            assert!(!spec.capabilities.bounding.0.has(5));
        }
        let spec = beside.of(&["--settings=trusted", "true"]);
        assert_eq!((spec.mounts.len(), spec.limits.iter().count()), (1, 1));
    }

    #[test]
    fn who_wins_wins_a_whole_category() {
        let beside = Beside::new("wins", TEXT);
        let words = ["-E", "B=2", "--hostname=line", "--bind=/b", "--rlimit=CORE=9", "--rlimit=NOFILE=9", "true"];
        let with = |mode: &str| beside.of(&[&[mode][..], &words].concat());
        let spec = with("--settings=trusted");
        assert_eq!(hostname(&spec), Some("line"));
        assert_eq!(spec.environment.keys().collect::<Vec<_>>(), ["B"], "one variable drops those of the file");
        assert_eq!(spec.mounts.len(), 1);
        assert_eq!(spec.mounts[0].target, Path::new("/b"));
        assert!(spec.root.read_only, "what nobody typed is the file's");
        let spec = with("--settings=override");
        assert_eq!(hostname(&spec), Some("file"));
        assert_eq!(spec.environment.keys().collect::<Vec<_>>(), ["A"]);
        // What the file may not say, it does not win.
        assert_eq!(spec.mounts[0].target, Path::new("/b"));
        assert_eq!(spec.limits.iter().count(), 2);
        assert_eq!(spec.command, ["true"]);
    }

    #[test]
    fn lists_add_up_where_that_is_asked() {
        let beside = Beside::new("adds", TEXT);
        let words =
            ["--merge=additive", "-E", "B=2", "--bind=/b", "--hostname=line", "--drop-capability=chown", "true"];
        let spec = beside.of(&[&["--settings=trusted"], &words[..]].concat());
        assert_eq!(spec.environment.keys().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(
            spec.mounts.iter().map(|mount| mount.target.as_path()).collect::<Vec<_>>(),
            ["/a", "/b"].map(Path::new)
        );
        assert!(!spec.capabilities.bounding.0.has(0) && !spec.capabilities.bounding.0.has(5));
        assert_eq!(hostname(&spec), Some("line"), "of scalars the option wins");
        // On one target, and of one variable, the option wins too.
        let spec = beside.of(&["--settings=trusted", "--merge=additive", "--tmpfs=/a", "-E", "A=2", "true"]);
        assert_eq!((spec.mounts.len(), spec.environment.get("A").map(|value| value.reveal())), (1, Some("2".as_ref())));
        let refused = beside.spec(&["--settings=override", "--merge=additive", "true"]).expect_err("refused");
        assert!(refused.to_string().contains("leave one of them out"), "{refused}");
    }

    #[test]
    fn what_cannot_be_is_an_error_with_a_remedy() {
        let beside = Beside::new("errors", "[Exec]\nHostnam=x\n");
        let refused = |words: &[&str]| beside.spec(words).expect_err("refused").to_string();
        assert!(refused(&["--settings=yes", "true"]).contains("skep-test-tree.nspawn:2:1: Hostnam"));
        let file = beside.0.join("skep-test-tree.nspawn").display().to_string();
        let both = refused(&["--settings=yes", "-f", &file, "true"]);
        assert!(both.contains("leave one of them out"), "{both}");
        let words = ["--settings=yes", "true"].map(Into::into);
        let nameless =
            crate::meaning::spec(parse(Verb::Plan, words).expect("parses")).expect_err("refused").to_string();
        assert!(nameless.contains("--machine=NAME"), "{nameless}");
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink("/etc/shadow", &file).expect("a link");
        let link = refused(&["--settings=yes", "true"]);
        assert!(link.contains("skep-test-tree.nspawn") && link.contains("--settings=no"), "{link}");
    }
}
