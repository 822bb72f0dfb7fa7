//! Files of `/etc` that tell a container about its host: over the tree's, and
//! never into it. A machine's can be removed from it.

use std::path::{Path, PathBuf};

use skep_sys::{At, Op};

use super::files::Files;
use super::source::Source;
use super::target::Covered;
use super::{Content, Placed};
use crate::compile::{Context, c_path};
use crate::error::Result;
use crate::facts::{EntryKind, LOCALTIME};
use crate::plan::{Builder, role};
use crate::report::Report;
use crate::spec::{Hosts, How, ResolvConf, Timezone, Volatile};

/// The files of `/etc`, to be mounted after the caller's mounts.
pub(super) fn of_host(
    context: &Context<'_>,
    files: &mut Files,
    report: &mut Report,
    plan: &mut Builder,
) -> Result<Vec<Placed>> {
    let mut covered = Covered::default();
    context.spec.mounts.iter().for_each(|mount| covered.add(&mount.target));
    let mut etc = Etc { context, files, report, plan, covered, placed: Vec::new() };
    etc.resolv_conf()?;
    etc.timezone()?;
    etc.hosts()?;
    etc.hostname();
    Ok(etc.placed)
}

/// What the report says of a file that is removed from the tree.
pub(crate) const REMOVED: &str = "removed from the tree";

/// The making of the files of `/etc`.
struct Etc<'a, 'c> {
    context: &'a Context<'c>,
    files: &'a mut Files,
    report: &'a mut Report,
    plan: &'a mut Builder,
    covered: Covered,
    placed: Vec<Placed>,
}

impl Etc<'_, '_> {
    /// Whether something can lie over `target`; the report says why not.
    /// `quietly`: nobody has asked for it by name, so nothing is made for it
    /// in a tree that keeps it.
    fn fits(&mut self, item: &str, target: &str, over_link: bool, quietly: bool) -> bool {
        let path = Path::new(target);
        let known = self.context.facts.targets.get(path).copied().unwrap_or_default();
        let fresh = super::is_fresh(self.context, path);
        let kept = !fresh && !super::is_overlay(self.context);
        let closed = self.context.spec.root.is_closed();
        let missing = known.kind == EntryKind::Missing && !known.through_link;
        let why = if self.covered.on_the_way(path) {
            format!("the Spec mounts something on {target} or above it")
        } else if !fresh && known.through_link && !known.is_link {
            format!("a directory above {target} is a symbolic link of the tree")
        } else if !fresh && known.is_link && !over_link {
            format!("{target} is a symbolic link of the tree, left alone")
        } else if !fresh && known.kind == EntryKind::Directory && !known.is_link {
            format!("{target} is a directory of the tree")
        } else if missing && !fresh && (closed || kept && (quietly || !self.can_change())) {
            format!("the tree has no {target}")
        } else {
            return true;
        };
        self.report.off(item, why);
        false
    }

    /// Puts the file, or what the host says in it, over the tree's.
    fn put(&mut self, item: &str, field: &str, target: &str, source: &str, how: How) -> Result<()> {
        let context = self.context;
        let fact = context.facts.path(Path::new(source));
        if fact.kind != EntryKind::File {
            self.report.unsupported(item, format!("the host has no file {source}"));
            return Ok(());
        }
        let content = if how == How::Bind {
            let source = Source::read_only(context, Path::new(source), context.origin(field), self.plan);
            self.report.applied(item, format!("{} of the host, read-only", source.path.display()));
            Content::Bind(source)
        } else {
            let content = context.facts.contents.get(Path::new(source)).map_or(&[][..], Vec::as_slice);
            self.report.applied(item, format!("a copy of {source} of the host"));
            Content::Made(self.files.plain(content))
        };
        self.place(field, target, content);
        Ok(())
    }

    fn place(&mut self, field: &str, target: &str, content: Content) {
        let target = PathBuf::from(target);
        let known = self.context.facts.targets.get(&target).copied().unwrap_or_default();
        let over_link = known.is_link && !super::is_fresh(self.context, &target);
        self.placed.push(Placed { target, content, origin: self.context.origin(field), over_link });
    }

    fn make(&mut self, item: &str, field: &str, target: &str, content: &[u8], what: &str) {
        self.report.applied(item, what);
        let part = self.files.plain(content);
        self.place(field, target, Content::Made(part));
    }

    /// There is to be none: a machine's tree loses it, as with systemd-nspawn. Elsewhere
    /// nothing is changed in a tree, and an empty file says as much.
    fn delete(&mut self, item: &str, field: &str, target: &str) {
        let path = Path::new(target);
        let context = self.context;
        if !context.nspawn() {
            return self.make(item, field, target, b"", "an empty file");
        }
        let known = context.facts.targets.get(path).copied().unwrap_or_default();
        if super::is_fresh(context, path) || (known.kind == EntryKind::Missing && !known.is_link) {
            return self.report.off(item, format!("the tree has no {target}"));
        }
        if !self.can_change() {
            return self.report.off(item, "the tree is read-only there");
        }
        self.report.applied(item, REMOVED);
        let origin = context.origin(field);
        self.placed.push(Placed { target: path.into(), content: Content::Removed, origin, over_link: false });
    }

    /// Whether a name can come or go in `/etc`.
    fn can_change(&self) -> bool {
        super::is_writable(self.context) && (super::is_overlay(self.context) || !self.context.facts.read_only_etc)
    }

    /// Nobody has said what there is to be, and the host has none: so has a machine, as with
    /// systemd-nspawn. But what it keeps loses nothing unasked: an empty file lies over that.
    fn absent(&mut self, item: &str, field: &str, target: &str) {
        if !super::is_writable(self.context) {
            self.report.off(item, format!("the host has no {target}, and the tree is read-only"));
        } else if super::is_overlay(self.context) || super::is_fresh(self.context, Path::new(target)) {
            self.delete(item, field, target);
        } else {
            self.make(item, field, target, b"", "an empty file: the host has none");
        }
    }

    /// Whether a machine is to have of `source` what the host has, and that is nothing.
    fn is_absent(&self, source: &str) -> bool {
        let fact = self.context.facts.path(Path::new(source));
        self.context.nspawn() && fact.kind == EntryKind::Missing && fact.failed.is_none()
    }

    fn resolv_conf(&mut self) -> Result<()> {
        const ITEM: &str = "resolv.conf";
        const TARGET: &str = "/etc/resolv.conf";
        let spec = self.context.spec;
        let mode = spec.resolv_conf;
        if !mode.is_wanted(spec) {
            return Ok(());
        }
        let found = mode.of(spec);
        let over_link = found.is_none_or(|(_, how)| how != How::Copy);
        if !self.fits(ITEM, TARGET, over_link, mode == ResolvConf::Auto) {
            return Ok(());
        }
        match found {
            Some((source, _)) if mode == ResolvConf::Auto && self.is_absent(source) => {
                self.absent(ITEM, "resolv_conf", TARGET);
                Ok(())
            }
            Some((source, how)) => self.put(ITEM, "resolv_conf", TARGET, source, how),
            None => {
                self.delete(ITEM, "resolv_conf", TARGET);
                Ok(())
            }
        }
    }

    fn timezone(&mut self) -> Result<()> {
        const ITEM: &str = "timezone";
        let mode = self.context.spec.timezone;
        let quietly = mode == Timezone::Auto;
        if mode == Timezone::Off || !self.fits(ITEM, LOCALTIME, mode != Timezone::Copy, quietly) {
            return Ok(());
        }
        let fresh = self.context.spec.root.volatile == Volatile::Yes;
        match mode {
            Timezone::Off => Ok(()),
            Timezone::Delete => {
                self.delete(ITEM, "timezone", LOCALTIME);
                Ok(())
            }
            Timezone::Copy => self.put(ITEM, "timezone", LOCALTIME, LOCALTIME, How::Copy),
            Timezone::Symlink | Timezone::Auto if fresh && self.context.facts.time_zone.is_some() => {
                // Made with the rest of the skeleton.
                let zone = self.context.facts.time_zone.as_deref().unwrap_or_default();
                self.report.applied(ITEM, zone);
                Ok(())
            }
            Timezone::Auto if self.context.facts.time_zone.is_none() && self.is_absent(LOCALTIME) => {
                self.absent(ITEM, "timezone", LOCALTIME);
                Ok(())
            }
            Timezone::Bind | Timezone::Symlink | Timezone::Auto => {
                self.put(ITEM, "timezone", LOCALTIME, LOCALTIME, How::Bind)
            }
        }
    }

    fn hosts(&mut self) -> Result<()> {
        const ITEM: &str = "hosts file";
        const TARGET: &str = "/etc/hosts";
        let mode = self.context.spec.hosts;
        if mode == Hosts::Off || !self.fits(ITEM, TARGET, true, false) {
            return Ok(());
        }
        match (mode, mode.source()) {
            (Hosts::BindHost, Some(source)) => self.put(ITEM, "hosts", TARGET, source, How::Bind),
            (_, Some(source)) => self.put(ITEM, "hosts", TARGET, source, How::Replace),
            (_, None) => {
                let name = self.context.hostname();
                let content = format!("127.0.0.1 localhost {name}\n::1 localhost {name}\n");
                self.make(ITEM, "hosts", TARGET, content.as_bytes(), "localhost and the hostname");
                Ok(())
            }
        }
    }

    fn hostname(&mut self) {
        const ITEM: &str = "hostname file";
        if self.context.spec.hostname_file && self.fits(ITEM, "/etc/hostname", true, false) {
            let name = self.context.hostname();
            self.make(ITEM, "hostname_file", "/etc/hostname", format!("{name}\n").as_bytes(), name);
        }
    }
}

/// The link `/etc/localtime` of a tmpfs root, in its `etc` in slot three.
pub(super) fn localtime(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    let wanted = matches!(context.spec.timezone, Timezone::Symlink | Timezone::Auto);
    let covered = context.spec.mounts.iter().any(|mount| Path::new(LOCALTIME).starts_with(&mount.target));
    if let (Some(zone), true, false) = (&context.facts.time_zone, wanted, covered) {
        let target = c_path(&Path::new("../usr/share/zoneinfo").join(zone))?;
        plan.op(Op::Symlink { target: &target, dir: At::Slot(role::THREE), name: c"localtime" });
    }
    Ok(())
}
