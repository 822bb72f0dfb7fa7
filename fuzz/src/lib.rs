//! What the fuzz targets share: Specs and facts out of arbitrary bytes, and
//! what must hold for every one of them.
//!
//! A target calls one function of this crate, so that the same check can be
//! tried on one input by hand.

mod facts;
mod rehearse;
mod seccomp;
mod spec;

use std::path::Path;

use arbitrary::Unstructured;
use skep::dialect::{self, Format, Problems, nspawn};
use skep::spec::Profile;
use skep::{Error, Facts, Plan, Spec};
use skep_sys::Op;
use skep_sys::wire::Reader;

pub use facts::{hosts, root};
pub use seccomp::seccomp;

/// Compiles for `facts`; what compiles must verify, and print without harm.
/// An error must say something, on one line.
pub fn compile(spec: &Spec, facts: &Facts) -> Option<Plan> {
    let plan = match skep::compile(spec, facts) {
        Ok(plan) => plan,
        Err(error) => {
            assert_fit_for_a_terminal(&error);
            return None;
        }
    };
    assert_eq!(skep::compile(spec, facts).as_ref(), Ok(&plan), "compile is not deterministic");
    for line in plan.to_string().lines().chain(plan.verbose().to_string().lines()) {
        assert!(!line.contains(char::is_control), "a control character in the plan: {line:?}");
    }
    match skep::verify(plan) {
        Ok(verified) => {
            let audit = skep::audit::Audit::of(spec, verified.plan());
            for row in audit.rows() {
                assert!(!row.holds.contains(char::is_control), "a control character in the audit: {row:?}");
            }
            Some(verified.plan().clone())
        }
        Err(error) => panic!("compiled, but does not verify: {error}\n{spec:#?}"),
    }
}

fn assert_fit_for_a_terminal(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty());
    assert!(!text.contains(char::is_control), "a control character in an error: {text:?}");
    assert!(text.len() < 20_000, "an error of {} bytes", text.len());
}

/// Target `compile_verify`: a Spec and a host out of the bytes, up to the exec
/// on the kernel in memory.
pub fn compile_verify(bytes: &[u8]) {
    let mut source = Unstructured::new(bytes);
    let Ok(spec) = spec::spec(&mut source) else { return };
    let Ok(facts) = facts::facts(&mut source, &spec) else { return };
    if let Some(plan) = compile(&spec, &facts) {
        same_after_writing(&spec);
        rehearse::rehearse(&spec, &facts, &plan);
    }
}

/// Target `privilege`: a Spec out of the bytes, on hosts that allow it: whatever
/// verifies ends with no more than the Spec says.
pub fn privilege(bytes: &[u8]) {
    let Ok(spec) = spec::spec(&mut Unstructured::new(bytes)) else { return };
    for facts in hosts(&spec) {
        if let Some(plan) = compile(&spec, &facts) {
            rehearse::rehearse(&spec, &facts, &plan);
        }
    }
}

/// Target `spec_json`: any bytes as JSON.
pub fn spec_json(bytes: &[u8]) {
    native(Format::Json, bytes);
    // serde_json is the oracle of what is JSON, but for what is too deep, too long
    // or given twice, and for what serde takes for a struct.
    if let Ok(spec) = dialect::read(Format::Json, Path::new(FILE), bytes, Profile::Strict) {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut value: serde_json::Value = serde_json::from_slice(bytes).expect("it has just been read");
        value.as_object_mut().map(|fields| fields.remove("$schema"));
        assert_eq!(serde_json::from_value::<Spec>(value).ok(), Some(spec));
    }
}

/// Target `spec_toml`: any bytes as TOML.
pub fn spec_toml(bytes: &[u8]) {
    native(Format::Toml, bytes);
}

const FILE: &str = "/etc/systemd/nspawn/fuzz.nspawn";

/// A Spec of a native format, or problems that can be shown.
fn native(format: Format, bytes: &[u8]) {
    match dialect::read(format, Path::new(FILE), bytes, Profile::Strict) {
        Err(problems) => assert_problems(&problems, bytes),
        Ok(spec) => {
            same_after_writing(&spec);
            for facts in hosts(&spec) {
                compile(&spec, &facts);
            }
        }
    }
}

fn assert_problems(problems: &Problems, bytes: &[u8]) {
    assert!(!problems.0.is_empty() && problems.0.len() < 1100);
    let text = problems.to_string();
    assert_eq!(text.lines().count(), problems.0.len(), "{text:?}");
    let harmless = |character: char| character == '\n' || !character.is_control();
    assert!(text.chars().all(harmless), "a control character in a problem: {text:?}");
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let within = |line: u32| line > 0 && usize::try_from(line).is_ok_and(|line| line <= lines);
    assert!(problems.0.iter().all(|problem| within(problem.line) && problem.column > 0), "{text}");
}

/// In each format that can say it, the Spec is the same after writing and reading.
fn same_after_writing(spec: &Spec) {
    for format in Format::ALL {
        match dialect::write(format, spec) {
            Ok(text) => {
                let mut again = dialect::read(format, Path::new(FILE), text.as_bytes(), spec.profile)
                    .unwrap_or_else(|problems| panic!("{problems}\nin what was written:\n{text}"));
                if format == Format::Nspawn {
                    again.machine.clone_from(&spec.machine);
                }
                assert_eq!(*spec, again, "changed by {format}:\n{text}");
            }
            Err(unsayables) => {
                assert!(!unsayables.0.is_empty());
                let text = unsayables.to_string();
                assert_eq!(text.lines().count(), unsayables.0.len(), "{text:?}");
                // Only a path that is not UTF-8 has no JSON.
                assert!(format != Format::Json || text.contains("UTF-8"), "{text}");
            }
        }
    }
}

/// Target `nspawn`: any bytes as a `.nspawn` file.
pub fn nspawn(bytes: &[u8]) {
    let file = Path::new(FILE);
    if let Ok(settings) = nspawn::parse_untrusted(file, bytes) {
        let mut spec = Spec::default();
        settings.apply(&mut spec);
        assert!(spec.no_new_privileges, "an untrusted file took away no_new_privileges");
        assert!(spec.mounts.is_empty() && spec.capabilities.bounding.0.0 == 0, "an untrusted file added something");
        for facts in hosts(&spec) {
            compile(&spec, &facts);
        }
    }
    let settings = match nspawn::parse(file, bytes) {
        Ok(settings) => settings,
        Err(problems) => return assert_problems(&problems, bytes),
    };
    let printed = settings.to_string();
    let again = nspawn::parse(file, printed.as_bytes())
        .unwrap_or_else(|problems| panic!("{problems}\nin what was printed:\n{printed}"));
    assert_eq!(settings, again, "changed by printing:\n{printed}");
    assert_eq!(printed, again.to_string());
    let all = settings.categories();
    assert!(settings.clone().without(&all).categories().is_empty(), "a category is left");
    assert_eq!(settings.clone().without(&Default::default()), settings);
    for mut spec in [Spec::default(), Spec::of(Profile::Nspawn)] {
        if spec.command.is_empty() {
            spec.command = vec!["/bin/sh".into()];
        }
        if settings.apply(&mut spec).is_ok() {
            same_after_writing(&spec);
            for facts in hosts(&spec) {
                compile(&spec, &facts);
            }
        }
    }
}

/// Target `ops`: any bytes as the flat form of ops.
pub fn ops(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let before = reader.rest();
        let Some(op) = Op::read(&mut reader) else { return };
        assert!(reader.rest().len() < before.len(), "an op of no bytes");
        let shown = op.to_string();
        assert!(!shown.contains(char::is_control), "a control character in {shown:?}");
        let mut written = Vec::new();
        op.write(&mut written);
        let mut again = Reader::new(&written);
        assert_eq!(Op::read(&mut again), Some(op), "changed by writing");
        assert!(again.is_empty(), "{} bytes left over", again.rest().len());
        let mut twice = Vec::new();
        op.write(&mut twice);
        assert_eq!(written, twice);
    }
}

/// Target `notification`: any bytes as a datagram of `sd_notify(3)`.
pub fn notification(bytes: &[u8]) {
    let found = skep::Notification::parse(bytes);
    let says = |text: &[u8]| bytes.split(|byte| *byte == b'\n').any(|line| line == text);
    assert_eq!(found.ready, says(b"READY=1"));
    assert_eq!(found.stopping, says(b"STOPPING=1"));
    assert!(found.status.is_none_or(|status| status.chars().count() <= 1024 && !status.contains('\n')));
}

/// Target `image`: the bytes as a disk image. Its root lies within it, and an error
/// says something on one line.
pub fn image(bytes: &[u8]) {
    let read = |offset: u64, into: &mut [u8]| {
        let from = usize::try_from(offset).ok();
        let part = from.and_then(|from| bytes.get(from..from.checked_add(into.len())?));
        part.is_some_and(|part| {
            into.copy_from_slice(part);
            true
        })
    };
    match skep::facts::DiskImage::look(bytes.len() as u64, &read) {
        Ok(image) => assert!(image.offset.checked_add(image.size).is_some_and(|end| end <= bytes.len() as u64)),
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}
