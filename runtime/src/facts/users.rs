//! Users of the host that a container is to have too, and what of its tree they
//! could collide with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::NamedUser;
use super::host::{file_of_tree, text_of_tree};
use super::tree::Tree;
use crate::spec::{BindUsers, Secret, Spec, Volatile};

/// The ids that such users have inside (`systemd-nspawn(1)`, `--bind-user=`).
pub(crate) const BIND_USER_IDS: std::ops::RangeInclusive<u32> = 60_514..=60_577;

/// A user of the host's `/etc/passwd`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HostUser {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// The name of that group, if it has one.
    pub group: Option<String>,
    /// Home directory.
    pub home: PathBuf,
    /// Shell; empty where the file names none.
    pub shell: String,
    /// The hash of the password, as `/etc/shadow` has it, where that can be read.
    pub password: Option<Secret>,
}

/// What of a tree's accounts users of the host could collide with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TreeAccounts {
    /// Users of those names, and groups of those names, with their ids.
    pub users: BTreeSet<String>,
    /// Groups of those names and of those that the users become members of.
    pub groups: BTreeMap<String, u32>,
    /// Ids of users and groups between 60514 and 60577.
    pub ids: BTreeSet<u32>,
    /// A file that is there and cannot be read: what is in it is not known.
    pub unread: Option<&'static str>,
}

/// The fields of a line of `passwd(5)` and its like.
fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

/// Those of the Spec that the host has.
pub(super) fn of_host(wanted: &BindUsers) -> BTreeMap<String, HostUser> {
    if wanted.names.is_empty() {
        return BTreeMap::new();
    }
    let read =
        |path| fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (passwd, group, shadow) = (read("/etc/passwd"), read("/etc/group"), read("/etc/shadow"));
    let found = wanted.names.iter().filter_map(|name| Some((name.clone(), user(name, &passwd, &group, &shadow)?)));
    found.collect()
}

fn user(name: &str, passwd: &str, group: &str, shadow: &str) -> Option<HostUser> {
    let own = |text: &str, at: usize| {
        let line = fields(text).find(|fields| fields.first() == Some(&name))?;
        line.get(at).map(|field| (*field).to_owned())
    };
    let gid = own(passwd, 3)?.parse().ok()?;
    let of_gid = fields(group).find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(gid));
    Some(HostUser {
        uid: own(passwd, 2)?.parse().ok()?,
        gid,
        group: of_gid.and_then(|fields| fields.first().map(|name| (*name).to_owned())),
        home: PathBuf::from(own(passwd, 5)?),
        shell: own(passwd, 6).unwrap_or_default(),
        password: own(shadow, 1).filter(|hash| !hash.is_empty()).map(Secret::new),
    })
}

/// Who has an id.
pub(super) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let own = |line: &Vec<&str>| line.get(2).is_some_and(|number| number.parse() == Ok(uid));
    fields(passwd).find(own)?.first().map(|name| (*name).to_owned())
}

/// A user of the tree's own `/etc/passwd`, read without leaving the tree.
pub(super) fn named_user(tree: &Tree, name: &str) -> Option<NamedUser> {
    let passwd = file_of_tree(tree, "etc/passwd");
    let line = fields(&passwd).find(|line| line.first() == Some(&name))?;
    let (uid, gid) = (line.get(2)?.parse().ok()?, line.get(3)?.parse().ok()?);
    let joined = |line: Vec<&str>| {
        let member = line.get(3)?.split(',').any(|member| member == name);
        if member { line.get(2)?.parse().ok() } else { None }
    };
    let groups = fields(&file_of_tree(tree, "etc/group")).filter_map(joined).collect();
    let home = line.get(5).filter(|home| home.starts_with('/')).unwrap_or(&"/");
    Some(NamedUser { uid, gid, groups, home: PathBuf::from(home) })
}

/// What of the tree's own files matters, read without leaving the tree.
pub(super) fn of_tree(tree: &Tree, spec: &Spec) -> TreeAccounts {
    let mut found = TreeAccounts::default();
    // An empty root has no accounts.
    if spec.bind_user.names.is_empty() || spec.root.volatile == Volatile::Yes {
        return found;
    }
    for (path, of_users) in [("etc/passwd", true), ("etc/group", false)] {
        let text = match text_of_tree(tree, path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                found.unread = Some(path);
                continue;
            }
        };
        for fields in fields(&text) {
            let (Some(name), Some(Ok(id))) = (fields.first(), fields.get(2).map(|id| id.parse::<u32>())) else {
                continue;
            };
            if BIND_USER_IDS.contains(&id) {
                found.ids.insert(id);
            }
            let own = spec.bind_user.names.iter().any(|known| known == name);
            if of_users && own {
                found.users.insert((*name).to_owned());
            }
            let joined = spec.bind_user.groups.iter().any(|known| known == name);
            if !of_users && (own || joined) {
                found.groups.insert((*name).to_owned(), id);
            }
        }
    }
    found
}

/// A made-up one for each name.
pub(super) fn example(wanted: &BindUsers) -> BTreeMap<String, HostUser> {
    let one = |(number, name): (u32, &String)| {
        let user = HostUser {
            uid: 1000 + number,
            gid: 1000 + number,
            group: Some(name.clone()),
            home: Path::new("/home").join(name),
            shell: "/bin/bash".to_owned(),
            password: Some(Secret::new("$y$hash")),
        };
        (name.clone(), user)
    };
    (0..).zip(&wanted.names).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_the_files() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\n#joe:x:1:1::/:\njoe:x:1001:100:Joe,,,:/home/joe:/bin/zsh\nbad:x:a:b\n";
        let group = "users:x:100:joe\njoe:x:1001:\n";
        let joe = user("joe", passwd, group, "joe:$y$x:1::::::\n").unwrap();
        assert_eq!((joe.uid, joe.gid, joe.group.as_deref()), (1001, 100, Some("users")));
        assert_eq!((joe.home.as_path(), joe.shell.as_str()), (Path::new("/home/joe"), "/bin/zsh"));
        assert_eq!(joe.password, Some(Secret::new("$y$x")));
        assert!(!format!("{joe:?}").contains("$y$"));
        assert_eq!(user("joe", passwd, "", "joe::1:\n").unwrap().password, None, "an empty one is none");
        for nobody in ["bad", "joe:x", "ro", ""] {
            assert_eq!(user(nobody, passwd, group, ""), None, "{nobody}");
        }
    }
}
