//! Section 7: names, environment.

use skep::sys::{At, Op, OpKind, Recorder};

use super::starts::{host, host_for, specs_for, verified};
use super::{ALL, ops, spec, starts};

/// Variables of the payload are data until its exec, and helpers get none.
#[test]
fn row_129_variables_steer_nothing_but_the_payload() {
    let marker = "skep-marker-129";
    let spec = spec(|spec| {
        for name in ["PATH", "LD_PRELOAD", "IFS", "TMPDIR"] {
            spec.environment.insert(name.into(), marker.to_owned().into());
        }
        spec.user_namespace = skep::spec::UserNamespace::Subordinate;
        spec.command = vec!["/usr/bin/true".into()];
    });
    let plan = verified(&spec, false);
    let mut recorder = Recorder::around(host(false));
    skep::rehearse(&mut recorder, &plan).unwrap();
    for record in recorder.records() {
        let holds = record.bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
        // The plan's own memfd carries it to the exec.
        assert!(!holds || [OpKind::Exec, OpKind::MemFd].contains(&record.kind), "{}", record.kind.name());
    }
}

/// One variable of the caller is read: the directory of the user's registry.
#[test]
fn row_129_the_library_reads_one_variable() {
    let mut read = Vec::new();
    for source in sources("src").into_iter().chain(sources("../runtime-sys/src")) {
        let text = std::fs::read_to_string(&source).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|line| line.contains("env::var") && !line.trim_start().starts_with("//"));
        read.extend(lines.map(|line| format!("{}: {}", source.display(), line.trim())));
    }
    assert!(read.len() == 1 && read[0].contains("XDG_RUNTIME_DIR"), "{read:#?}");
}

pub(super) fn sources(below: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// What a line of a kernel file could be broken by never reaches one.
#[test]
fn row_127_no_value_breaks_a_line_of_a_kernel_file() {
    for byte in 0..=255_u8 {
        let odd = String::from_utf8_lossy(&[b'1', byte, b'1']).into_owned();
        let spec = spec(|spec| _ = spec.sysctls.insert("net.ipv4.ip_forward".into(), odd.clone()));
        let Ok(plan) = skep::compile(&spec, &super::starts::facts(&spec, true)) else { continue };
        for op in ops(&plan, ALL) {
            if let Op::Write { content, path, .. } = op
                && path.to_bytes().ends_with(b"ip_forward")
            {
                // Its own end of line, and no other.
                let value = content.0.strip_suffix(b"\n").unwrap_or(content.0);
                assert!(!value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'), "{byte}: {value:?}");
            }
        }
    }
}

/// A recorded start names no file of the caller's working directory.
#[test]
fn row_130_nothing_is_found_by_a_relative_path() {
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), ALL) {
            if let Op::OpenAt2 { dir: At::Cwd, path, .. } | Op::OpenTree { dir: At::Cwd, path, .. } = op {
                assert!(path.to_bytes().first() == Some(&b'/') || path.is_empty() || path == c".", "{name}: {op}");
            }
        }
    }
    for (name, spec) in specs_for(false) {
        let mut recorder = Recorder::around(host_for(&spec, false));
        skep::rehearse(&mut recorder, &verified(&spec, false)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
