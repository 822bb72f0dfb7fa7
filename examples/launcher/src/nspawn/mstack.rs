//! `--mstack=`: a directory whose entries say what a root is made of
//! (`systemd.mstack(7)`): layers that are laid over each other, where changes go, and
//! what is bound in.

use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, fchown, geteuid, unlinkat};
use skep::Spec;
use skep::spec::{Bind, IdMap, Mount, MountKind, Origin, Overlay, Ownership, UserNamespace, Volatile, Want};

use super::version;
use crate::message::{Failure, because, quoted};

const OPTION: &str = "--mstack=";

/// How a stack's directory ends.
pub(super) const ENDING: &str = "mstack";

/// What marks a directory that hides those of the lower layers.
const OPAQUE: &CStr = c"user.overlay.opaque";

/// What an entry stands for, without links.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    path: PathBuf,
    image: bool,
}

/// What is bound in.
#[derive(PartialEq, Eq, Debug)]
struct Bound {
    at: PathBuf,
    place: Place,
    read_only: bool,
}

/// All entries of a stack.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Stack {
    directory: PathBuf,
    /// By their ids, the bottom first.
    layers: Vec<(Vec<u8>, Place)>,
    rw: Option<Place>,
    root: Option<Place>,
    bound: Vec<Bound>,
}

/// What a name says.
#[derive(PartialEq, Eq, Debug)]
enum Name<'a> {
    Layer(&'a [u8]),
    Changes,
    Root,
    Bound { at: PathBuf, read_only: bool },
}

impl<'a> Name<'a> {
    /// Of a name without its ending; else what is wrong with it.
    fn of(text: &'a [u8]) -> Result<Self, &'static str> {
        let after = |prefix: &str| text.strip_prefix(prefix.as_bytes()).filter(|rest| !rest.is_empty());
        if let Some(id) = after("layer@") {
            return Ok(Self::Layer(id));
        }
        let (escaped, read_only) = match (text, after("bind@"), after("robind@")) {
            (b"rw", ..) => return Ok(Self::Changes),
            (b"root", ..) => return Ok(Self::Root),
            (_, Some(escaped), _) => (escaped, false),
            (_, _, Some(escaped)) => (escaped, true),
            _ => return Err("this is no entry of a stack"),
        };
        let at = unescaped(escaped).ok_or("its place is not a path as `systemd-escape --path` writes it")?;
        Ok(Self::Bound { at, read_only })
    }
}

/// A path as it stands in the name of a unit (`systemd.unit(5)`).
fn unescaped(text: &[u8]) -> Option<PathBuf> {
    if text == b"-" {
        return Some("/".into());
    }
    let (mut path, mut rest) = (vec![b'/'], text);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        path.push(match (first, after) {
            (b'-', _) => b'/',
            (b'\\', [b'x', high, low, after @ ..]) => {
                rest = after;
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                Some(digit(high)? << 4 | digit(low)?).filter(|byte| *byte != 0)?
            }
            (b'\\', _) => return None,
            (byte, _) => *byte,
        });
    }
    let parts = path.split(|byte| *byte == b'/').skip(1);
    parts.into_iter().all(|part| !matches!(part, b"" | b"." | b"..")).then(|| OsString::from_vec(path).into())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{OPTION}: {}: {}; see that this user may look at it", quoted(path), because(error)))
}

fn refused(path: &Path, what: &str, remedy: &str) -> Failure {
    Failure::new(format!("{OPTION}: {}: {what}; {remedy}", quoted(path)))
}

impl Stack {
    /// That of a directory.
    pub(super) fn read(directory: &Path) -> Result<Self, Failure> {
        let mut stack = Self { directory: directory.to_owned(), ..Self::default() };
        let entries = fs::read_dir(directory).map_err(|error| failed(directory, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| failed(directory, &error))?.path();
            if !path.file_name().unwrap_or_default().as_bytes().starts_with(b".") {
                stack.add(&path)?;
            }
        }
        stack.layers.sort_by(|(one, _), (other, _)| version::compare(one, other).then_with(|| one.cmp(other)));
        Ok(stack)
    }

    fn add(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let found = path.metadata().map_err(|error| failed(path, &error))?;
        let kind = found.file_type();
        let (name, picked) = if let Some(base) = name.strip_suffix(b".v").filter(|_| kind.is_dir()) {
            let picked = version::pick(path, base).map_err(|error| failed(path, &error))?;
            let picked = picked.ok_or_else(|| {
                refused(path, "it has no version for this machine", "call an entry of it NAME_VERSION")
            })?;
            (base.strip_suffix(b".raw").unwrap_or(base), picked)
        } else if kind.is_file() {
            let base = name.strip_suffix(b".raw");
            (
                base.ok_or_else(|| refused(path, "this is a file", "call a disk image NAME.raw, or take it out"))?,
                path.into(),
            )
        } else if kind.is_dir() || kind.is_block_device() {
            (name, path.into())
        } else {
            return Err(refused(path, "this is neither a directory nor a disk image", "take it out"));
        };
        let real = picked.canonicalize().map_err(|error| failed(&picked, &error))?;
        let place = Place { image: !real.is_dir(), path: real };
        let known = match Name::of(name) {
            Ok(Name::Layer(id)) => {
                let known = self.layers.iter().any(|(other, _)| other == id);
                self.layers.push((id.to_vec(), place));
                known
            }
            Ok(Name::Changes) => self.rw.replace(place).is_some(),
            Ok(Name::Root) => self.root.replace(place).is_some(),
            Ok(Name::Bound { at, read_only }) => {
                let known = self.bound.iter().any(|other| other.at == at);
                self.bound.push(Bound { at, place, read_only });
                known
            }
            Err(what) => {
                let remedy = "call it layer@ID, rw, root, bind@PLACE or robind@PLACE, or take it out";
                return Err(refused(path, what, remedy));
            }
        };
        match known {
            true => Err(refused(path, "another entry says the same", "take one of them out")),
            false => Ok(()),
        }
    }

    /// Makes it the root of `spec`, which says already whether anything may be changed.
    pub(super) fn apply(mut self, spec: &mut Spec) -> Result<(), Failure> {
        if spec.root.ephemeral {
            let what = "a stack says itself where changes go, and the machine is to be ephemeral";
            return Err(Failure::new(format!("{OPTION}: {what}; leave one of them out, or say --volatile=overlay")));
        }
        let closed = spec.root.read_only || spec.root.volatile != Volatile::No;
        let is_bound = |bound: &[Bound], at: &str| bound.iter().position(|one| one.at == Path::new(at));
        if let Some(nth) = is_bound(&self.bound, "/") {
            let Bound { place, read_only, .. } = self.bound.swap_remove(nth);
            take(spec, place, read_only);
            return self.bind(spec, closed);
        }
        let mut layers: Vec<Place> = std::mem::take(&mut self.layers).into_iter().map(|(_, place)| place).collect();
        let (mut rw, root) = (self.rw.take(), self.root.take());
        // Of what is laid over each other, nothing but that would be seen.
        if root.is_some() && is_bound(&self.bound, "/usr").is_some() {
            (layers, rw) = (Vec::new(), None);
        }
        match (layers.len().saturating_add(usize::from(rw.is_some())), root) {
            (0, Some(root)) => take(spec, root, false),
            (0, None) => {
                let remedy = "add a layer@ID, or a directory called root, which may be empty";
                return Err(refused(&self.directory, "no entry of it is a root", remedy));
            }
            // One alone is shown as it is.
            (1, root) => {
                let read_only = rw.is_none();
                let Some(one) = layers.pop().or(rw) else { return Ok(()) };
                match root {
                    None => take(spec, one, read_only),
                    Some(root) => {
                        let path = plain(&one)?.join("usr");
                        if !is_directory(&path) {
                            return Err(refused(&path, "it is to be /usr, and no directory", "make it one"));
                        }
                        self.bound.push(Bound { at: "/usr".into(), place: Place { path, image: false }, read_only });
                        take(spec, root, false);
                    }
                }
            }
            (_, root) => {
                let mut layers = layers.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
                let rw = rw.as_ref().map(plain).transpose()?;
                let upper = rw.as_ref().map(|rw| rw.join("data"));
                let (mut upper, work) = (upper, rw.map(|rw| rw.join("work")));
                if closed {
                    layers.extend(upper.take().filter(|data| is_directory(data)));
                }
                let work = work.filter(|_| upper.is_some());
                // A root in memory has the links of one of them, and the usr of all.
                let in_memory = spec.root.volatile == Volatile::Yes && layers.len() > 1;
                match root.or_else(|| in_memory.then(|| system(&layers)).flatten()) {
                    None => {
                        let Some(top) = layers.pop() else { return Ok(()) };
                        take(spec, Place { path: top, image: false }, layers.is_empty() && upper.is_none());
                        (spec.root.lower, spec.root.upper, spec.root.work) = (layers, upper, work);
                        note(spec, "root.lower");
                        note(spec, "root.upper");
                    }
                    Some(root) => {
                        take(spec, root, false);
                        let mut overlay = Overlay::default();
                        (overlay.lower, overlay.upper, overlay.work) =
                            (parts(&layers)?, upper.map(|data| data.join("usr")), work);
                        (overlay.read_only, overlay.user_attributes) = (overlay.upper.is_none(), true);
                        mount(spec, Mount { target: "/usr".into(), kind: MountKind::Overlay(overlay) });
                    }
                }
            }
        }
        self.bind(spec, closed)
    }

    /// What is bound in, but where something else of the caller's will be.
    fn bind(self, spec: &mut Spec, closed: bool) -> Result<(), Failure> {
        let users = match spec.root.ownership {
            Ownership::Usual => matches!(spec.user_namespace, UserNamespace::Pick | UserNamespace::Managed),
            other => other != Ownership::Off && spec.user_namespace != UserNamespace::Host,
        };
        for Bound { at, place, read_only } in self.bound {
            let mut bind = Bind::default();
            bind.source = plain(&place)?;
            (bind.read_only, bind.recursive) = (read_only || closed, false);
            if users && geteuid().is_root() {
                // As the root shows its own.
                (bind.id_map, bind.id_map_want) = (IdMap::IdMap, Want::Require);
            }
            mount(spec, Mount { target: at, kind: MountKind::Bind(bind) });
        }
        Ok(())
    }
}

/// A directory: a disk image can only be all of a root.
fn plain(place: &Place) -> Result<PathBuf, Failure> {
    match place.image {
        false => Ok(place.path.clone()),
        true => Err(refused(
            &place.path,
            "a disk image that is not all of the root is not mounted here",
            "mount it (systemd-dissect --mount), and let a link of the stack, without .raw, lead to that directory",
        )),
    }
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// The `usr` of each layer, the bottom first, as one would see it if they were laid over
/// each other.
fn parts(layers: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut parts = Vec::new();
    for layer in layers {
        let path = layer.join("usr");
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                let value = File::open(&path).map(|file| skep::sys::xattr(file.as_fd(), OPAQUE));
                if matches!(value, Ok(Ok(Some(value))) if value == b"y") {
                    parts.clear();
                }
                parts.push(path);
            }
            // A whiteout.
            Ok(found) if found.file_type().is_char_device() && found.rdev() == 0 => parts.clear(),
            Ok(_) => return Err(refused(&path, "it is to be /usr, and no directory", "make it one")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Ok(parts)
}

/// The topmost layer with programs and the links that lead to them.
fn system(layers: &[PathBuf]) -> Option<Place> {
    let is = |layer: &&PathBuf| is_directory(&layer.join("usr")) && layer.join("bin").symlink_metadata().is_ok();
    layers.iter().rev().find(is).map(|layer| Place { path: layer.clone(), image: false })
}

fn note(spec: &mut Spec, field: &str) {
    spec.origins.note(field, Origin::Option(OPTION.to_owned()));
}

fn take(spec: &mut Spec, place: Place, read_only: bool) {
    (spec.root.path, spec.root.image) = (place.path, place.image);
    spec.root.read_only |= read_only;
    note(spec, "root");
}

fn mount(spec: &mut Spec, mount: Mount) {
    if spec.mounts.iter().all(|other| other.target != mount.target) {
        note(spec, &format!("mounts.{}", mount.target.display()));
        spec.mounts.push(mount);
    }
}

/// Directories for changes that a start has made, each beneath one that is open: they go
/// with one that fails.
pub(crate) struct Made(Vec<(Rc<OwnedFd>, OsString)>);

impl Made {
    /// Those that the stack of `spec` still lacks, as its owner's.
    pub(crate) fn of(spec: &Spec) -> Result<Self, Failure> {
        let of_stack = |field: &str| matches!(spec.origins.of(field), Some(Origin::Option(option)) if option == OPTION);
        let root = (&spec.root.upper, &spec.root.work);
        let mounts = spec.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Overlay(overlay) if of_stack(&format!("mounts.{}", mount.target.display())) => {
                Some((&overlay.upper, &overlay.work))
            }
            _ => None,
        });
        let mut made = Self(Vec::new());
        for (upper, work) in mounts.chain(of_stack("root.upper").then_some(root)) {
            let (Some(upper), Some(work)) = (upper, work) else { continue };
            let Some(rw) = work.parent() else { continue };
            for path in [upper, work] {
                made.below(rw, path.strip_prefix(rw).unwrap_or(path)).map_err(|error| failed(path, &error))?;
            }
        }
        Ok(made)
    }

    /// One name after the other, through no link: `rw` may be anybody's.
    fn below(&mut self, rw: &Path, path: &Path) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut at = Rc::new(open(rw, flags, Mode::empty())?);
        let owner = fstat(&at)?;
        for name in path {
            let is_new = match mkdirat(&at, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(errno.into()),
            };
            if is_new {
                self.0.push((Rc::clone(&at), name.to_owned()));
            }
            let below = openat(&at, name, flags, Mode::empty())?;
            if is_new && geteuid().is_root() {
                fchown(&below, Some(owner.st_uid.into()), Some(owner.st_gid.into()))?;
            }
            at = Rc::new(below);
        }
        Ok(())
    }

    /// They stay.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (above, name) in self.0.drain(..).rev() {
            let _ = unlinkat(&above, name.as_os_str(), UnlinkatFlags::RemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep::spec::Profile;

    /// A stack in a directory of its own, removed at the end.
    struct Stand(PathBuf);

    impl Stand {
        fn new(name: &str, directories: &[&str]) -> Self {
            let top = std::env::temp_dir().join(format!("skep-mstack-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&top);
            fs::create_dir_all(top.join("x.mstack")).unwrap();
            let stand = Self(top.canonicalize().unwrap());
            for name in directories {
                fs::create_dir_all(stand.stack().join(name)).unwrap();
            }
            stand
        }

        fn stack(&self) -> PathBuf {
            self.0.join("x.mstack")
        }

        fn file(&self, name: &str) {
            fs::write(self.stack().join(name), "").unwrap();
        }

        fn spec(&self, change: impl FnOnce(&mut Spec)) -> Result<Spec, String> {
            let mut spec = Spec::of(Profile::Nspawn);
            spec.root.volatile = Volatile::No;
            change(&mut spec);
            let applied = Stack::read(&self.stack()).and_then(|stack| stack.apply(&mut spec));
            applied.map(|()| spec).map_err(|error| error.to_string())
        }

        /// The root in short: what it is made of, and what is mounted in it.
        fn root(&self, change: impl FnOnce(&mut Spec)) -> String {
            let spec = self.spec(change).unwrap_or_else(|error| panic!("{error}"));
            let below = |path: &Path| path.strip_prefix(self.stack()).unwrap().display().to_string();
            let many = |paths: &[PathBuf]| paths.iter().map(|path| below(path)).collect::<Vec<_>>().join("+");
            let upper = |upper: &Option<PathBuf>, work: &Option<PathBuf>| match (upper, work) {
                (Some(upper), Some(work)) => format!(" >{} {}", below(upper), below(work)),
                (None, None) => String::new(),
                other => panic!("{other:?}"),
            };
            let root = &spec.root;
            let mut text = below(&root.path);
            if root.image {
                text += " image";
            }
            if !root.lower.is_empty() {
                text += &format!(" over {}", many(&root.lower));
            }
            text += &upper(&root.upper, &root.work);
            if root.read_only {
                text += " ro";
            }
            for mount in &spec.mounts {
                let at = mount.target.display();
                match &mount.kind {
                    MountKind::Bind(bind) => {
                        let how = if bind.read_only { " ro" } else { "" };
                        text += &format!("; {at}: {}{how}", below(&bind.source));
                    }
                    MountKind::Overlay(overlay) => {
                        assert!(overlay.user_attributes);
                        let how = if overlay.read_only { " ro" } else { "" };
                        text +=
                            &format!("; {at}: {}{}{how}", many(&overlay.lower), upper(&overlay.upper, &overlay.work));
                    }
                    other => panic!("{other:?}"),
                }
            }
            text
        }
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn places_as_units_escape_them() {
        for (text, path) in [
            ("-", Some("/")),
            ("var", Some("/var")),
            ("var-lib-a.b", Some("/var/lib/a.b")),
            ("a\\x2db\\x20c", Some("/a-b c")),
            ("\\xc3\\xBC", Some("/ü")),
            ("", None),
            ("-var", None),
            ("var-", None),
            ("a--b", None),
            ("..", None),
            ("a-..-b", None),
            (".", None),
            ("a\\x2fb", Some("/a/b")),
            ("a\\x2f", None),
            ("a\\x00", None),
            ("a\\x", None),
            ("a\\x2", None),
            ("a\\xzz", None),
            ("a\\x+1", None),
            ("a\\n", None),
            ("a\\", None),
        ] {
            assert_eq!(unescaped(text.as_bytes()).as_deref(), path.map(Path::new), "{text}");
        }
    }

    #[test]
    fn what_a_stack_makes_the_root_of() {
        type Case<'a> = (&'a [&'a str], &'a str, &'a str);
        let cases: &[Case<'_>] = &[
            // The entries; the root; and where nothing may be changed.
            (&["layer@0"], "layer@0 ro", "layer@0 ro"),
            (&["rw/usr"], "rw", "rw ro"),
            (&["root"], "root", "root ro"),
            (&["layer@9", "layer@10"], "layer@10 over layer@9", "layer@10 over layer@9 ro"),
            (
                &["layer@9", "layer@10", "layer@1.2", "rw"],
                "layer@10 over layer@1.2+layer@9 >rw/data rw/work",
                "layer@10 over layer@1.2+layer@9 ro",
            ),
            (&["layer@a", "rw/data"], "layer@a >rw/data rw/work", "rw/data over layer@a ro"),
            (&["layer@a", "rw"], "layer@a >rw/data rw/work", "layer@a ro"),
            (&["layer@0/usr", "root"], "root; /usr: layer@0/usr ro", "root ro; /usr: layer@0/usr ro"),
            (&["rw/usr", "root"], "root; /usr: rw/usr", "root ro; /usr: rw/usr ro"),
            (
                &["layer@0/usr", "layer@1/usr", "layer@2", "root"],
                "root; /usr: layer@0/usr+layer@1/usr ro",
                "root ro; /usr: layer@0/usr+layer@1/usr ro",
            ),
            (
                &["layer@0/usr", "rw/data/usr", "root"],
                "root; /usr: layer@0/usr >rw/data/usr rw/work",
                "root ro; /usr: layer@0/usr+rw/data/usr ro",
            ),
            (
                &["layer@0", "bind@var", "robind@etc-app"],
                "layer@0 ro; /etc/app: robind@etc-app ro; /var: bind@var",
                "layer@0 ro; /etc/app: robind@etc-app ro; /var: bind@var ro",
            ),
            // What would not be seen is not there.
            (&["layer@0", "layer@1", "rw", "root", "bind@-"], "bind@-", "bind@- ro"),
            (&["layer@0", "robind@-"], "robind@- ro", "robind@- ro"),
            (&["layer@0", "rw", "root", "bind@usr"], "root; /usr: bind@usr", "root ro; /usr: bind@usr ro"),
            // Nobody's.
            (&[".#layer@0.lck", ".git", "layer@0"], "layer@0 ro", "layer@0 ro"),
            (
                &["layer@0.v/layer@0_1", "layer@0.v/layer@0_1.10", "layer@0.v/layer@0_1.9"],
                "layer@0.v/layer@0_1.10 ro",
                "layer@0.v/layer@0_1.10 ro",
            ),
        ];
        let sorted = |text: String| {
            let mut parts: Vec<&str> = text.split("; ").collect();
            parts[1..].sort_unstable();
            parts.join("; ")
        };
        for (nth, (entries, root, closed)) in cases.iter().enumerate() {
            let stand = Stand::new(&format!("makes-{nth}"), entries);
            assert_eq!(sorted(stand.root(|_| {})), *root, "{entries:?}");
            assert_eq!(sorted(stand.root(|spec| spec.root.read_only = true)), *closed, "{entries:?}, read-only");
            let volatile = stand.root(|spec| spec.root.volatile = Volatile::State);
            assert_eq!(sorted(volatile).replace(" ro", ""), closed.replace(" ro", ""), "{entries:?}, volatile");
        }
    }

    #[test]
    fn a_root_in_memory_has_the_usr_of_all_layers() {
        let stand = Stand::new("memory", &["layer@0/usr", "layer@0/bin", "layer@1/usr", "layer@2", "rw/data/usr"]);
        let volatile = |spec: &mut Spec| spec.root.volatile = Volatile::Yes;
        assert_eq!(stand.root(volatile), "layer@0; /usr: layer@0/usr+layer@1/usr+rw/data/usr ro");
    }

    #[test]
    fn links_and_images() {
        let stand = Stand::new("links", &["rw"]);
        for name in ["base", "top"] {
            fs::create_dir_all(stand.0.join(name)).unwrap();
            std::os::unix::fs::symlink(format!("../{name}"), stand.stack().join(format!("layer@{name}"))).unwrap();
        }
        let spec = stand.spec(|_| {}).unwrap();
        assert_eq!((&spec.root.path, &spec.root.lower), (&stand.0.join("top"), &vec![stand.0.join("base")]));
        assert_eq!(spec.origins.of("root"), Some(&Origin::Option(OPTION.to_owned())));
        let stand = Stand::new("images", &[]);
        stand.file("layer@0.raw");
        assert_eq!(stand.root(|_| {}), "layer@0.raw image ro");
        stand.file("layer@1.raw");
        let error = stand.spec(|_| {}).unwrap_err();
        assert!(error.contains("layer@0.raw\": a disk image") && error.contains("; mount it"), "{error}");
    }

    #[test]
    fn what_is_no_stack() {
        let refuses = |entries: &[&str], file: Option<&str>, words: &str| {
            let stand = Stand::new("none", entries);
            file.into_iter().for_each(|name| stand.file(name));
            let error = stand.spec(|_| {}).unwrap_err();
            assert!(error.starts_with(OPTION) && error.contains(words) && error.contains("; "), "{entries:?}: {error}");
        };
        for name in ["layer@", "layer", "layers@0", "bind@", "robind@", "RW", "rw2", "data", "bind:var", "usr", "x"] {
            refuses(&["layer@0", name], None, "no entry of a stack");
        }
        for name in ["bind@var-", "bind@-var", "robind@a--b", "bind@..", "bind@a\\n"] {
            refuses(&["layer@0", name], None, "systemd-escape");
        }
        refuses(&["layer@0"], Some("layer@1"), "this is a file");
        refuses(&["layer@0"], Some("layer@0.raw"), "says the same");
        refuses(&["rw"], Some("rw.raw"), "says the same");
        refuses(&["bind@var-lib", "bind@var\\x2flib"], None, "says the same");
        refuses(&["bind@var", "robind@var"], None, "says the same");
        refuses(&["layer@0.v/layer@1_1"], None, "no version");
        refuses(&[], None, "no entry of it is a root");
        refuses(&["bind@var"], None, "a directory called root");
        refuses(&["layer@0", "root"], None, "/usr");
        refuses(&["layer@0", "layer@1/usr", "root"], Some("layer@0/usr"), "/usr");
        let stand = Stand::new("ephemeral", &["layer@0"]);
        assert!(stand.spec(|spec| spec.root.ephemeral = true).unwrap_err().contains("ephemeral"));
        let stand = Stand::new("dangling", &[]);
        std::os::unix::fs::symlink("nowhere", stand.stack().join("layer@0")).unwrap();
        assert!(stand.spec(|_| {}).unwrap_err().contains("layer@0"));
    }

    #[test]
    fn what_hides_a_usr_of_a_lower_layer() {
        let stand = Stand::new("hides", &["layer@0/usr", "layer@1", "layer@2/usr", "root"]);
        let kind = nix::sys::stat::SFlag::S_IFCHR;
        let whiteout = stand.stack().join("layer@1/usr");
        nix::sys::stat::mknod(&whiteout, kind, nix::sys::stat::Mode::empty(), 0).unwrap();
        assert_eq!(stand.root(|_| {}), "root; /usr: layer@2/usr ro");
    }

    #[test]
    fn what_a_failing_start_made_goes() {
        let stand = Stand::new("made", &["layer@0/usr", "layer@1/usr", "rw", "root"]);
        let rw = stand.stack().join("rw");
        let there = || ["data/usr", "data", "work"].map(|name| rw.join(name).is_dir());
        let spec = stand.spec(|_| {}).unwrap();
        let made = Made::of(&spec).unwrap();
        assert_eq!(there(), [true; 3]);
        drop(made);
        assert_eq!(there(), [false; 3]);
        Made::of(&spec).unwrap().keep();
        drop(Made::of(&spec).unwrap());
        assert_eq!(there(), [true; 3], "what was there stays");
    }

    #[test]
    fn changes_go_through_no_link() {
        let stand = Stand::new("no-link", &["layer@0/usr", "layer@1/usr", "rw", "root"]);
        let elsewhere = stand.0.join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, stand.stack().join("rw/data")).unwrap();
        let error = Made::of(&stand.spec(|_| {}).unwrap()).err().unwrap().to_string();
        assert!(error.contains("rw/data"), "{error}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert!(!stand.stack().join("rw/work").exists());
    }
}
