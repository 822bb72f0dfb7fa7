//! Users of the host that the container has too: which ids they have inside, their
//! homes, and the records by which the tree's libraries know them
//! (<https://systemd.io/USER_RECORD>, <https://systemd.io/GROUP_RECORD>).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use skep_sys::abi::MountAttrs;
use skep_sys::wire::{Blob, SecretBlob};
use skep_sys::{At, Op, Slot};

use super::files::{ATTRS, Part};
use super::idmap::{Ids, host_id};
use super::source::{Source, require_path, require_source};
use super::{Content, Placed};
use crate::compile::{Context, Mapping, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{BIND_USER_IDS, EntryKind, Facts, HostUser};
use crate::plan::Builder;
use crate::report::Report;
use crate::spec::{BindUsers, Spec, UserShell};

/// Where their homes are, and where records of them are, inside.
const HOMES: &str = "/run/host/home";
pub(super) const RECORDS: &str = "/run/host/userdb";

/// Who wrote the records, as `systemd-nspawn` says it.
const SERVICE: &str = "io.systemd.NSpawn";

/// The ids of nobody and of nogroup (`systemd.io/UIDS-GIDS`).
const NOBODY: u32 = 65_534;

/// A user of the host, as the container knows it.
pub(crate) struct BoundUser<'a> {
    name: &'a str,
    host: &'a HostUser,
    /// Its user and group id, inside.
    pub(crate) id: u32,
    shell: Option<&'a str>,
}

impl BoundUser<'_> {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Its home, inside.
    pub(crate) fn home(&self) -> PathBuf {
        Path::new(HOMES).join(self.name)
    }
}

fn refusal<'a>(spec: &'a Spec, name: &'a str) -> impl Fn(ErrorKind, &str, &str) -> Error + 'a {
    move |kind, why, remedy| {
        let what = format!("bring in the user {name} of the host: {why}");
        Error::new(kind, what).from(spec.origins.of(&format!("bind_user.names.{name}"))).remedy(remedy)
    }
}

/// What can be said without looking at the host.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let wanted = &spec.bind_user;
    let invalid = |field: &str, what: String, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    for (field, names) in [("bind_user.names", &wanted.names), ("bind_user.groups", &wanted.groups)] {
        if let Some(name) = names.iter().find(|name| !BindUsers::is_name(name)) {
            let shown = crate::Escaped::new(name).short().to_string();
            let remedy = "A name has up to 32 letters, digits, `_` and `-`, and starts with a letter or `_`.";
            return invalid(field, format!("{shown:?} is not the name of a user or group"), remedy);
        }
    }
    if wanted.names.is_empty() && *wanted != BindUsers::default() {
        let field = if wanted.groups.is_empty() { "bind_user.shell" } else { "bind_user.groups" };
        let what = "a shell or groups of users of the host are said, and no user".to_owned();
        return invalid(field, what, "Name users (--bind-user=), or leave it out.");
    }
    if let UserShell::Path(path) = &wanted.shell {
        let text = path.to_str().unwrap_or("");
        if !text.starts_with('/') || text.len() > 4095 || text.contains(char::is_control) {
            return invalid(
                "bind_user.shell",
                "the shell of users of the host is not an absolute path".to_owned(),
                "Write it from `/` on, in UTF-8.",
            );
        }
    }
    Ok(())
}

/// Each user that the Spec names, and the ids that are free in the tree for it.
pub(crate) fn assigned<'a>(spec: &'a Spec, facts: &'a Facts) -> Result<Vec<BoundUser<'a>>> {
    const LEAVE: &str = "Leave it out.";
    let tree = &facts.tree_accounts;
    let mut free = BIND_USER_IDS.filter(|id| !tree.ids.contains(id));
    let mut seen = BTreeSet::new();
    let mut users = Vec::new();
    for name in spec.bind_user.names.iter().filter(|name| seen.insert(name.as_str())) {
        let refuse = refusal(spec, name);
        let Some(host) = facts.host_users.get(name) else {
            let what = "it is not in /etc/passwd of the host";
            return Err(refuse(ErrorKind::NotFound, what, "Name a user of that file."));
        };
        if host.uid == 0 || host.gid == 0 {
            return Err(refuse(
                ErrorKind::InvalidSpec,
                "user or group is root's, which the container has its own of",
                LEAVE,
            ));
        }
        if host.uid == NOBODY || host.gid == NOBODY || host.uid == u32::MAX || host.gid == u32::MAX {
            return Err(refuse(ErrorKind::InvalidSpec, "its ids are those of nobody", LEAVE));
        }
        if let Some(path) = tree.unread {
            let what = format!(
                "whether the tree has one of that name cannot be looked up: {path} is not a file of at most 1 MiB that this user can read"
            );
            return Err(refuse(ErrorKind::NotPermitted, &what, "Make it one."));
        }
        if tree.users.contains(name) {
            let what = "the tree's etc/passwd has a user of that name already";
            return Err(refuse(ErrorKind::InvalidSpec, what, "Leave it out: the tree has its own."));
        }
        // One user and one group are shown as one user and one group.
        if host.group.as_deref() != Some(name) {
            let what = "its group is not one of its own, of the same name";
            return Err(refuse(ErrorKind::InvalidSpec, what, "Give it one on the host: groupadd, usermod --gid."));
        }
        if tree.groups.contains_key(name) {
            let what = "the tree's etc/group has a group of that name already";
            return Err(refuse(ErrorKind::InvalidSpec, what, "Leave it out, or rename that group."));
        }
        let Some(id) = free.next() else {
            let what = "the ids from 60514 to 60577 are all in use";
            return Err(refuse(ErrorKind::InvalidSpec, what, "Name fewer users, or remove such ids from the tree."));
        };
        let shell = match &spec.bind_user.shell {
            UserShell::Usual => None,
            UserShell::Host => Some(host.shell.as_str()).filter(|shell| !shell.is_empty()),
            UserShell::Path(path) => path.to_str(),
        };
        users.push(BoundUser { name, host, id, shell });
    }
    Ok(users)
}

/// How the home of one shows its ids.
fn ids_of(context: &Context<'_>, user: &BoundUser<'_>) -> Result<Ids> {
    let refuse = refusal(context.spec, user.name);
    if !context.mapping.is_new() {
        let what = "the container has no user namespace, and so no ids of its own";
        return Err(refuse(ErrorKind::InvalidSpec, what, "Give it one: --private-users=pick, or -U."));
    }
    if !context.host_clones {
        let what = "only root can map the ids of a file system of the host";
        return Err(refuse(
            ErrorKind::NotPermitted,
            what,
            "As an ordinary user, bind your home: your files are root's inside.",
        ));
    }
    let own = |id: u32| match &context.mapping {
        Mapping::Direct { extents, .. } => {
            extents.iter().any(|[_, base, count]| id.checked_sub(*base).is_some_and(|offset| offset < *count))
        }
        _ => false,
    };
    if own(user.host.uid) || own(user.host.gid) {
        let what = format!("its ids {} and {} are ids of the container already", user.host.uid, user.host.gid);
        return Err(refuse(ErrorKind::InvalidSpec, &what, "Map another range: --private-users=pick."));
    }
    match (host_id(&context.mapping, user.id, false), host_id(&context.mapping, user.id, true)) {
        (Some(uid), Some(gid)) => Ok(Ids::Some { uid: [user.host.uid, uid, 1], gid: [user.host.gid, gid, 1] }),
        _ => {
            let what = format!("the container does not map the id {}", user.id);
            Err(refuse(ErrorKind::InvalidSpec, &what, "Map a range that holds the ids from 60514 to 60577: 65536 ids."))
        }
    }
}

/// Homes and records, in the order of mounting.
pub(super) fn of_host(context: &Context<'_>, report: &mut Report, plan: &mut Builder) -> Result<Vec<Placed>> {
    let mut placed = Vec::new();
    for user in &context.users {
        let field = format!("bind_user.names.{}", user.name);
        let (origin, target) = (context.origin(&field), user.home());
        let ids = ids_of(context, user)?;
        let home = Source::read_only(context, &user.host.home, origin.clone(), plan);
        let source = Source { recursive: true, attrs: MountAttrs::NONE, ids, ..home };
        require_path(context, &field, "home", &source.path)?;
        require_source(context, &field, "home", &source)?;
        if source.fact.kind != EntryKind::Directory {
            let refuse = refusal(context.spec, user.name);
            let what = format!("its home {} is no directory", source.path.display());
            return Err(refuse(ErrorKind::InvalidSpec, &what, "Correct it: usermod --home."));
        }
        report.applied(
            format!("mount {}", target.display()),
            format!("bind of {}: {}", source.path.display(), source.all_attrs()),
        );
        let shell = user.shell.map_or_else(String::new, |shell| format!(", shell {shell}"));
        report.applied(format!("user {}", user.name), format!("of the host, as {}{shell}", user.id));
        placed.push(Placed { target, content: Content::Bind(source), origin, over_link: false });
    }
    if !context.users.is_empty() {
        report.applied(format!("mount {RECORDS}"), format!("records of users: {ATTRS}"));
        placed.push(Placed {
            target: PathBuf::from(RECORDS),
            content: Content::Made(Part::Records),
            origin: context.origin("bind_user"),
            over_link: false,
        });
    }
    Ok(placed)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserRecord<'a> {
    user_name: &'a str,
    uid: u32,
    gid: u32,
    home_directory: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    member_of: &'a [String],
    service: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRecord<'a> {
    group_name: &'a str,
    gid: u32,
    service: &'static str,
}

#[derive(Serialize)]
struct Secrets<'a> {
    privileged: Privileged<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Privileged<'a> {
    hashed_password: [std::borrow::Cow<'a, str>; 1],
}

fn json(record: &impl Serialize) -> Result<String> {
    let failed = |error: serde_json::Error| Error::new(ErrorKind::InvalidSpec, format!("write a record: {error}"));
    serde_json::to_string(record).map(|text| text + "\n").map_err(failed)
}

/// Makes the records in the directory `dir` of the ramfs: for each user and group a
/// file by its name, a link to that by its id; what root alone may read is apart.
pub(super) fn records(context: &Context<'_>, dir: Slot, plan: &mut Builder) -> Result<()> {
    let groups = &context.spec.bind_user.groups;
    let into = At::Slot(dir);
    for user in &context.users {
        let record = UserRecord {
            user_name: user.name,
            uid: user.id,
            gid: user.id,
            home_directory: user.home(),
            shell: user.shell,
            member_of: groups,
            service: SERVICE,
        };
        let group = GroupRecord { group_name: user.name, gid: user.id, service: SERVICE };
        let mut links = vec![(user.name, "user"), (user.name, "group")];
        for (name, kind, text) in [(user.name, "user", json(&record)?), (user.name, "group", json(&group)?)] {
            let name = c_text(format!("{name}.{kind}").as_bytes())?;
            plan.op(Op::Create {
                dir: into,
                name: &name,
                mode: 0o444,
                content: Blob(text.as_bytes()),
                exist_ok: false,
            });
        }
        if let Some(hash) = &user.host.password {
            let text =
                json(&Secrets { privileged: Privileged { hashed_password: [hash.reveal().to_string_lossy()] } })?;
            let name = c_text(format!("{}.user-privileged", user.name).as_bytes())?;
            plan.op(Op::CreateSecret { dir: into, name: &name, mode: 0o400, content: SecretBlob(text.as_bytes()) });
            links.push((user.name, "user-privileged"));
        }
        for (name, kind) in links {
            let (target, link) = (format!("{name}.{kind}"), format!("{}.{kind}", user.id));
            plan.op(Op::Symlink { target: &c_text(target.as_bytes())?, dir: into, name: &c_text(link.as_bytes())? });
        }
        for group in groups.iter().collect::<BTreeSet<_>>() {
            let name = c_text(format!("{}:{group}.membership", user.name).as_bytes())?;
            plan.op(Op::Create { dir: into, name: &name, mode: 0o444, content: Blob(b""), exist_ok: false });
        }
    }
    Ok(())
}
