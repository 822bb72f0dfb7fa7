//! From one format to another, by way of the Spec.

use std::fmt;
use std::path::Path;

#[cfg(not(feature = "toml"))]
use super::problem::Problem;
use super::problem::Problems;
use super::{native, nspawn};
use crate::Escaped;
use crate::spec::{Origin, Profile, Spec};

/// A format that says what a container shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The settings files of `systemd-nspawn`: [`nspawn`].
    Nspawn,
    /// The Spec as JSON: [`native`].
    Json,
    /// The Spec as TOML, with the feature `toml`: [`native`].
    Toml,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Nspawn, Self::Json, Self::Toml];

    /// The name, which is the ending of a file as well.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nspawn => "nspawn",
            Self::Json => "json",
            Self::Toml => "toml",
        }
    }

    /// By its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format that a file's ending tells.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        file.extension().and_then(|ending| ending.to_str()).and_then(Self::by_name)
    }

    /// Bytes of a file, at most: what reading more would be for nothing.
    #[must_use]
    pub const fn max_file(self) -> usize {
        match self {
            Self::Nspawn => nspawn::MAX_FILE,
            Self::Json | Self::Toml => native::MAX_FILE,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a Spec from a trusted file.
///
/// A `.nspawn` file is laid over the defaults of `profile`; the native formats say
/// everything themselves. `file` is for messages, origins, and relative sources
/// of binds; nothing is opened. Never panics, whatever the bytes are.
///
/// # Errors
///
/// Everything that is wrong with the file, in its order.
pub fn read(format: Format, file: &Path, bytes: &[u8], profile: Profile) -> Result<Spec, Problems> {
    match format {
        Format::Nspawn => {
            let mut spec = Spec::of(profile);
            nspawn::parse(file, bytes)?.apply(&mut spec)?;
            Ok(spec)
        }
        Format::Json => native::read_json(file, bytes),
        #[cfg(feature = "toml")]
        Format::Toml => native::read_toml(file, bytes),
        #[cfg(not(feature = "toml"))]
        Format::Toml => Err(Problems(vec![Problem {
            file: file.to_owned(),
            line: 1,
            column: 1,
            key: None,
            message: NO_TOML.to_owned(),
            remedy: Some(TOML_REMEDY.to_owned()),
        }])),
    }
}

#[cfg(not(feature = "toml"))]
const NO_TOML: &str = "TOML is not built in";
#[cfg(not(feature = "toml"))]
const TOML_REMEDY: &str = "build with the feature `toml`, or use JSON";

/// Writes a Spec. Reading the text gives an equal Spec: for [`Format::Nspawn`] on
/// top of the Spec's own profile, which a comment names where it is not the usual
/// one, as it does the machine, whose name is that of the file.
///
/// The text holds the values of the environment variables.
///
/// # Errors
///
/// Everything in the Spec that the format cannot say.
pub fn write(format: Format, spec: &Spec) -> Result<String, Unsayables> {
    match format {
        Format::Nspawn => nspawn_text(spec),
        Format::Json => native::to_json(spec),
        #[cfg(feature = "toml")]
        Format::Toml => native::to_toml(spec),
        #[cfg(not(feature = "toml"))]
        Format::Toml => Err(Unsayables::of("", &format!("{NO_TOML}; {TOML_REMEDY}"), spec)),
    }
}

fn nspawn_text(spec: &Spec) -> Result<String, Unsayables> {
    let (settings, Unsayables(mut left)) = nspawn::Settings::of(spec);
    left.retain(|unsayable| unsayable.field != "machine");
    if !left.is_empty() {
        return Err(Unsayables(left));
    }
    let mut text = String::new();
    if let Some(machine) = &spec.machine {
        text.push_str(&format!("# The name of the machine is that of the file: {machine}.nspawn\n"));
    }
    if spec.profile == Profile::Nspawn {
        text.push_str("# On top of the profile `nspawn`\n");
    }
    Ok(format!("{text}{settings}"))
}

/// Why a file is not converted.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// What is wrong with the file.
    #[error(transparent)]
    Source(#[from] Problems),
    /// What the other format cannot say.
    #[error(transparent)]
    Target(#[from] Unsayables),
}

/// Reads a file of one format and writes it in another, as [`read`] and [`write()`].
///
/// ```
/// use std::path::Path;
/// use skep::dialect::{Format, convert};
/// use skep::spec::Profile;
///
/// let file = Path::new("/srv/web.nspawn");
/// let text = convert(file, b"[Exec]\nParameters=id -u\n", Format::Nspawn, Format::Json, Profile::Strict)?;
/// assert_eq!(text, "{\n  \"version\": 1,\n  \"command\": [\n    \"id\",\n    \"-u\"\n  ]\n}\n");
///
/// let json = br#"{ "command": ["id"], "resources": { "memory": 1024 } }"#;
/// let error = convert(Path::new("web.json"), json, Format::Json, Format::Nspawn, Profile::Strict).unwrap_err();
/// assert_eq!(error.to_string(), "web.json:1 resources.memory: a .nspawn file cannot say this; \
///     say it on the command line (--memory=, --cpus=, --pids=), or use another format");
/// # Ok::<(), skep::dialect::ConvertError>(())
/// ```
///
/// # Errors
///
/// Everything that is wrong with the file, or that the other format cannot say.
pub fn convert(file: &Path, bytes: &[u8], from: Format, to: Format, profile: Profile) -> Result<String, ConvertError> {
    let spec = read(from, file, bytes, profile)?;
    Ok(write(to, &spec)?)
}

/// Something in a Spec that a format cannot say.
///
/// Prints as `PLACE: message; remedy` on one line, without control characters
/// and without values of variables; the place is the line that it comes from, else
/// the field.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Unsayable {
    /// The field of the Spec, such as `root.path`; empty for the whole.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// Where the field was set.
    pub origin: Option<Origin>,
}

impl Unsayable {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>, spec: &Spec) -> Self {
        let field = field.into();
        // Its own, or that of what it is a part of.
        let wholes = std::iter::successors(Some(field.as_str()), |part| part.rsplit_once('.').map(|(whole, _)| whole));
        let origin = wholes.filter(|part| !part.is_empty()).find_map(|part| spec.origins.of(part)).cloned();
        Self { field, message: message.into(), origin }
    }
}

impl fmt::Display for Unsayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match (&self.origin, self.field.as_str()) {
            (Some(origin), _) => origin.to_string(),
            (None, "") => "the spec".to_owned(),
            (None, field) => field.to_owned(),
        };
        write!(f, "{}: {}", Escaped::new(&place), Escaped::new(&self.message))
    }
}

/// Everything in a Spec that a format cannot say; one per line.
#[derive(Clone, PartialEq, Eq, Debug, Default, thiserror::Error)]
pub struct Unsayables(pub Vec<Unsayable>);

impl Unsayables {
    pub(super) fn of(field: &str, message: &str, spec: &Spec) -> Self {
        Self(vec![Unsayable::new(field, message, spec)])
    }
}

impl fmt::Display for Unsayables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, unsayable) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            unsayable.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Spec {
        read(Format::Json, Path::new("/s.json"), json.as_bytes(), Profile::Strict).unwrap()
    }

    #[test]
    fn formats_by_name_and_file() {
        for format in Format::ALL {
            assert_eq!(Format::by_name(format.name()), Some(format));
            assert_eq!(Format::of(Path::new(&format!("/a.b/web.{format}"))), Some(format));
        }
        for other in ["web", "web.JSON", ".json", "json", "web.nspawn.bak", ""] {
            assert_eq!(Format::of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_spec_as_a_settings_file() {
        let spec = spec(
            r#"{"machine": "web", "command": ["/bin/sh", "-c", "echo 'a b' \"c\""], "environment": {"A": "x y"},
            "root": {"read_only": true, "volatile": "state", "ephemeral": true}, "user": {"ids": {"uid": 9, "gid": 9}},
            "mounts": [{"target": "/d:e", "kind": {"bind": {"source": "/srv \\ "}}}, {"target": "/t", "kind": {"tmpfs": {}}}],
            "masked": ["/m\\"], "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]},
            "limits": {"CORE": {"soft": 0}}, "hostname": "h", "init": "payload", "readiness": "notify",
            "kill_signal": 37, "working_directory": "/srv", "user_namespace": {"range": {"base": 65536, "count": 9}},
            "network": "host", "no_new_privileges": false}"#,
        );
        let text = write(Format::Nspawn, &spec).unwrap();
        let expected = r#"# The name of the machine is that of the file: web.nspawn
[Exec]
Ephemeral=yes
ProcessTwo=no
Parameters=/bin/sh -c 'echo '"'a b' "'"c"'
Environment="A=x y"
User=9
Capability=CAP_CHOWN CAP_KILL
AmbientCapability=CAP_KILL
KillSignal=SIGRTMIN+3
WorkingDirectory=/srv
PrivateUsers=65536:9
NotifyReady=yes
LimitCORE=0:infinity
Hostname=h
NoNewPrivileges=no
[Files]
ReadOnly=yes
Volatile=state
BindReadOnly=/srv \\ :/d\:e:rbind
TemporaryFileSystem=/t:mode=0755,size=268435456,nr_inodes=100000,rw
Inaccessible=/m\/
[Network]
Private=no
"#;
        assert_eq!(text, expected);
        let mut again = read(Format::Nspawn, Path::new("/s"), text.as_bytes(), Profile::Strict).unwrap();
        again.machine.clone_from(&spec.machine);
        assert_eq!(again, spec);
    }

    #[test]
    fn the_profile_of_the_original_is_its_own_base() {
        let text = b"[Exec]\nDropCapability=CAP_KILL\n[Network]\nPrivate=yes\n";
        let spec = read(Format::Nspawn, Path::new("/s"), text, Profile::Nspawn).unwrap();
        let written = write(Format::Nspawn, &spec).unwrap();
        assert_eq!(
            written,
            "# On top of the profile `nspawn`\n[Exec]\nDropCapability=CAP_KILL\n[Network]\nPrivate=yes\n"
        );
        assert_eq!(read(Format::Nspawn, Path::new("/s"), written.as_bytes(), Profile::Nspawn), Ok(spec.clone()));
        let json = write(Format::Json, &spec).unwrap();
        assert_eq!(read(Format::Json, Path::new("/s"), json.as_bytes(), Profile::Strict), Ok(spec));
    }

    #[test]
    fn what_a_settings_file_cannot_say_is_told() {
        for (json, expected) in [
            (r#"{"umask": 0}"#, &["/s.json:1 umask: "][..]),
            (
                "{\"groups\": [1],\n\"root\": {\"path\": \"/srv\"}, \"resources\": {\"pids\": 5}}",
                &["/s.json:2 root.path: a .nspawn file", "/s.json:2 resources.pids: ", "/s.json:1 groups: "],
            ),
            (r#"{"user": {"ids": {"uid": 1, "gid": 2}}}"#, &["/s.json:1 user.ids: "]),
            (r#"{"command": ["a\nBoot=yes"]}"#, &["/s.json:1 command: "]),
            (r#"{"command": ["a", [255]]}"#, &["/s.json:1 command: "]),
            (r#"{"environment": {"A": "hunter2\n[Files]\nBind=/"}}"#, &["/s.json:1 environment.A: "]),
            (r#"{"masked": ["/a\nBoot=yes"]}"#, &["/s.json:1 masked[0]: "]),
            (r#"{"mounts": [{"target": "/a\rb", "kind": {"tmpfs": {}}}]}"#, &["/s.json:1 mounts[0]: "]),
            (r#"{"user_namespace": "own"}"#, &["/s.json:1 user_namespace: "]),
            (r#"{"capabilities": {"ambient": ["CAP_KILL"]}}"#, &["/s.json:1 capabilities.ambient: CAP_KILL is not"]),
            (r#"{"kill_signal": 200}"#, &["/s.json:1 kill_signal: "]),
            (r#"{"working_directory": "/proc/1"}"#, &["/s.json:1 working_directory: "]),
        ] {
            let found = write(Format::Nspawn, &spec(json)).unwrap_err();
            let lines: Vec<String> = found.0.iter().map(ToString::to_string).collect();
            assert_eq!(lines.len(), expected.len(), "{json}\n{found}");
            for (line, start) in lines.iter().zip(expected) {
                assert!(line.starts_with(start), "{json}\n{found}");
                assert!(line.contains("cannot say") || !start.ends_with(": "), "{json}\n{found}");
                assert!(!line.contains(char::is_control) && !line.contains("hunter2"), "{json}\n{found}");
            }
        }
    }
}
