//! What TEST-13-NSPAWN of systemd asserts, T1 to T39 by our count, and where it is ours:
//! a test whose name begins with the number (`t11_…`), or what is said here.

/// Those whose tests have other names, or of which there is none, and why.
const ELSEWHERE: &[(u8, &str)] = &[
    (21, "none: nothing is pushed into a machine from outside; there is `skep cp`"),
    (24, "interfaces: `networks`"),
    (25, "PrivateUsers= of each kind: T29, which has the options, and `ranges.rs` of the library's own tests"),
    (27, "the shell of a user of the host: with --bind-user-shell="),
    (28, "users of the host: with --bind-user="),
    (30, "ports: `networks`"),
    (38, "the journal's directory: with --link-journal="),
    (39, "none: it needs networkd on the host, or SELinux"),
];

/// Nothing of the list is forgotten.
#[test]
fn each_number_has_a_test_or_a_reason() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nspawn");
    let files = match std::fs::read_dir(&directory) {
        Ok(files) => files,
        Err(error) => return crate::stand::skip(&format!("its source cannot be read by this user: {error}")),
    };
    let source: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let missing: Vec<u8> = (1..=39)
        .filter(|number| !source.contains(&format!("\nfn t{number:02}_")))
        .filter(|number| ELSEWHERE.iter().all(|(other, _)| other != number))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
