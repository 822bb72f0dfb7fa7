//! Bad inputs: each a message that says where and what to do, exit code 1, and
//! nothing left behind.

use std::collections::BTreeSet;
use std::path::Path;

use crate::stand::{CONTAINERS, Scratch, containers, skep};

/// Words after `skep`, and what the message holds: the place, and the remedy.
/// `@` stands for a directory with the files that [`tree`] makes.
const CASES: &[(&[&str], &[&str])] = &[
    (&[], &["what to do is missing", "skep --help"]),
    (&["frob"], &["\"frob\"", "not something that skep does"]),
    (&["nspawn", "--image-policy=x"], &["--image-policy", "not supported", "--directory="]),
    (&["nspawn", "--cleanup", "-x", "-D", "/"], &["--cleanup", "leave --ephemeral out"]),
    (&["nspawn", "--cleanup"], &["--cleanup", "--machine="]),
    (&["nspawn", "-D", "@", "true"], &["holds no root file system", "--directory="]),
    (&["nspawn", "-M", "skep-test-none", "true"], &["/var/lib/machines", "--directory="]),
    (&["run"], &["no command", "Name a program"]),
    (&["run", "--frobnicate", "true"], &["--frobnicate", "unknown option", "--help"]),
    (&["run", "--bind-or=/etc", "true"], &["--bind-or", "did you mean --bind-ro"]),
    (&["run", "--image-policy=x"], &["--image-policy", "not supported"]),
    (&["run", "-k", "true"], &["-k", "unknown option"]),
    (&["run", "--quiet=yes", "true"], &["--quiet", "takes no value"]),
    (&["run", "--machine"], &["--machine", "write --machine=NAME"]),
    (&["run", "-D", "/missing/tree", "true"], &["/missing/tree", "--directory=", "Name a directory"]),
    (&["run", "-D", "@/file", "true"], &["@/file", "--directory=", "name a directory"]),
    (&["run", "-D", "@/loop", "true"], &["@/loop", "--directory="]),
    (&["run", "-D", "/", "true"], &["host's own root", "--directory=", "ephemeral"]),
    (&["run", "--bind=/missing/file", "true"], &["/missing/file", "--bind=", "Create it"]),
    (&["run", "--bind=@/dangling:/x", "true"], &["@/dangling", "--bind=", "Create it"]),
    (&["run", "--bind=@/file:/proc/x", "true"], &["/proc/x", "--bind=", "elsewhere"]),
    (&["run", "--bind-ro=@/file:x", "true"], &["--bind-ro=", "\"x\"", "from `/` on"]),
    (&["run", "--bind-ro=@/file:/a/../b", "true"], &["--bind-ro=", "`..`"]),
    (&["run", "--bind=@/file:/x:fast", "true"], &["--bind=", "\"fast\"", "norbind"]),
    (&["run", "--bind=@/file:/tmp", "true"], &["/tmp", "--bind="]),
    (&["run", "--tmpfs=/t:size=0", "true"], &["--tmpfs=", "size=0"]),
    (&["run", "--tmpfs=t", "true"], &["--tmpfs=", "\"t\"", "from `/` on"]),
    (&["run", "--inaccessible=etc", "true"], &["--inaccessible=", "from `/` on"]),
    (&["run", "--hostname=a\nb", "true"], &["--hostname=", "a\\nb", "ASCII letters"]),
    (&["run", "-Mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "true"], &["--machine=", "64"]),
    (&["run", "-M../x", "true"], &["--machine=", "ASCII letters"]),
    (&["run", "-u4294967295", "true"], &["--uid=", "4294967295", "UID:GID"]),
    (&["run", "-uno-such-user", "true"], &["no-such-user", "--uid="]),
    (
        &["run", "--private-users=own", "-u7:8", "--ambient-capability=CAP_CHOWN", "true"],
        &["CAP_CHOWN", "--ambient-capability="],
    ),
    (&["run", "--private-users=0", "true"], &["--private-users="]),
    (&["run", "--private-users=7:0", "true"], &["--private-users=", "at least one id"]),
    (&["run", "no-such-command"], &["no-such-command", "not found in container"]),
    (&["run", "/etc"], &["/etc", "may not be executed"]),
    (&["run", "--chdir=/missing", "true"], &["/missing", "--chdir=", "must exist inside"]),
    (&["run", "--chdir=/proc/1/root", "true"], &["--chdir=", "name a directory of the root"]),
    (&["run", "--rlimit=NOFILE=2:1", "true"], &["--rlimit=", "2:1", "SOFT"]),
    (&["run", "--rlimit=FILES=1", "true"], &["--rlimit=", "\"FILES\"", "NOFILE"]),
    (&["run", "--memory=lots", "true"], &["--memory=", "\"lots\"", "512M"]),
    (&["run", "--memory=1", "true"], &["memory limit of 1 bytes", "--memory="]),
    (&["run", "--cpus=0", "true"], &["--cpus=", "1.5"]),
    (&["run", "--pids=0", "true"], &["--pids=", "from 1 on"]),
    (&["run", "--umask=9", "true"], &["--umask=", "octal"]),
    (&["run", "--capability=CAP_FLY", "true"], &["--capability=", "CAP_FLY", "capabilities(7)"]),
    (&["run", "--setenv=9A=hunter2", "true"], &["--setenv=", "no digit at its start"]),
    (&["run", "--kill-signal=SIGFOO", "true"], &["--kill-signal=", "\"SIGFOO\"", "SIGTERM"]),
    (&["run", "--network=veth", "true"], &["--network=", "\"veth\"", "`none` or `host`"]),
    (&["run", "--volatile=maybe", "true"], &["--volatile=", "\"maybe\"", "overlay"]),
    (&["run", "--start-timeout=never", "true"], &["--start-timeout=", "seconds"]),
    (&["run", "--profile=lax", "true"], &["--profile=", "`strict` or `nspawn`"]),
    (&["run", "-f", "@/missing.nspawn"], &["@/missing.nspawn", "ENOENT"]),
    (&["run", "-f", "@"], &["@", "directory"]),
    (&["run", "-f", "@/unknown.nspawn"], &["@/unknown.nspawn:2:1", "Hostnam", "did you mean `Hostname=`?"]),
    (&["run", "-f", "@/boot.nspawn"], &["@/boot.nspawn:2:22", "PrivateUsersDelegate", "further ranges"]),
    (&["run", "-f", "@/header.nspawn"], &["@/header.nspawn:1:1", "does not end with `]`"]),
    (&["run", "-f", "@/bind.nspawn"], &["@/bind.nspawn:4", "BindReadOnly", "/missing/book"]),
    (&["plan"], &["no command"]),
    (&["run", "--verbose", "true"], &["--verbose", "belongs to skep plan"]),
    (&["check"], &["skep check FILE…"]),
    (&["check", "@/file"], &["@/file", ".nspawn", ".json"]),
    (&["check", "@/missing.json"], &["@/missing.json", "ENOENT"]),
    (&["check", "a", "b"], &["\"a\" is neither", "\"b\" is neither"]),
    (&["doctor", "now"], &["\"now\"", "no arguments"]),
    (&["help", "frob"], &["\"frob\"", "exit-codes"]),
    // Words of the program itself.
    (&["paln", "true"], &["\"paln\"", "did you mean skep plan"]),
    (&["--verbose"], &["\"--verbose\"", "skep --help"]),
    (&["completion"], &["needs a shell", "bash, zsh or fish"]),
    (&["completion", "csh"], &["\"csh\"", "zsh or bash or fish"]),
    (&["completion", "bash", "zsh"], &["\"zsh\"", "one word too many"]),
    (&["man", "frob"], &["\"frob\"", "write run, nspawn, plan"]),
    (&["man", "--report"], &["--report", "belongs to skep run, skep nspawn, skep plan"]),
    (&["run", "-\u{1b}", "true"], &["unknown option", "--help"]),
    (&["run", "--bi\u{202e}nd=/a", "true"], &["unknown option", "\\u{202e}"]),
    (&["run", "--help=yes"], &["--help", "takes no value"]),
    // Contradictory.
    (&["run", "--bind=/etc:/x", "--bind-ro=/etc:/x", "true"], &["--bind-ro=: --bind= mounts", "\"/x\"", "leave one"]),
    (&["run", "--tmpfs=/x", "--tmpfs=/x:ro", "true"], &["--tmpfs=", "\"/x\"", "leave one"]),
    (&["audit", "--threshold=11"], &["--threshold=", "0.0 to 10.0"]),
    (&["audit", "--threshold=-1"], &["--threshold=", "\"-1\""]),
    (&["run", "--ambient-capability=CAP_KILL", "--drop-capability=CAP_KILL", "true"], &["CAP_KILL", "Add it to both"]),
    (&["run", "--ambient-capability=CAP_KILL", "true"], &["CAP_KILL", "--ambient-capability="]),
    (&["run", "--capability=45", "true"], &["45", "Leave it out"]),
    (&["run", "-f", "@/good.json", "--profile=strict"], &["--profile=", "leave the option out"]),
    (&["run", "--bind=@/file:/usr/bin/true/x", "true"], &["/usr/bin/true/x", "--bind="]),
    (&["run", "--bind=/etc:/proc", "true"], &["/proc", "--bind="]),
    (&["run", "--bind=/etc:/", "true"], &["--bind="]),
    (&["run", "--tmpfs=/", "true"], &["--tmpfs="]),
    (&["run", "--tmpfs=/proc/x", "true"], &["/proc/x", "--tmpfs="]),
    (&["run", "--inaccessible=/", "true"], &["--inaccessible="]),
    // Out of range, or of no shape.
    (&["run", "--status-fd=99", "true"], &["--status-fd=", "descriptor 99 is not open"]),
    (&["run", "--status-fd=0x1", "true"], &["--status-fd=", "such as 3"]),
    (&["run", "--memory=99999999999999999999", "true"], &["--memory=", "512M"]),
    (&["run", "--memory=-1", "true"], &["--memory=", "\"-1\""]),
    (&["run", "--cpus=1e400", "true"], &["--cpus=", "1.5"]),
    (&["run", "--cpus=", "true"], &["--cpus=", "1.5"]),
    (&["run", "--pids=99999999999999999999", "true"], &["--pids="]),
    (&["run", "--start-timeout=1e9", "true"], &["--start-timeout=", "86400"]),
    (&["run", "--rlimit==1", "true"], &["--rlimit="]),
    (&["run", "--rlimit=NOFILE=-1", "true"], &["--rlimit=", "-1"]),
    (&["run", "--rlimit=NOFILE=99999999999999999999", "true"], &["--rlimit=", "too large"]),
    (&["run", "--setenv==x", "true"], &["--setenv="]),
    (&["run", "--setenv=", "true"], &["--setenv="]),
    (&["run", "--setenv=PATH=", "true"], &["\"true\"", "PATH names no absolute directory", "with its path"]),
    (&["run", "--setenv=PATH=.:bin", "true"], &["PATH names no absolute directory"]),
    (&["run", "LONG"], &["a program's name of 256 bytes", "at most 255"]),
    (&["run", "-u0:", "true"], &["--uid=", "UID:GID"]),
    (&["run", "-u65535", "true"], &["--uid=", "65535"]),
    (&["run", "--umask=7777", "true"], &["--umask="]),
    (&["run", "--kill-signal=0", "true"], &["--kill-signal="]),
    (&["run", "--private-users=1:4294967295", "true"], &["--private-users="]),
    (&["run", "--capability=,", "true"], &["--capability="]),
    (&["run", "--chdir=", "true"], &["--chdir="]),
    (&["run", "--bind=", "true"], &["--bind="]),
    (&["run", "--bind=:", "true"], &["--bind="]),
    (&["run", "--tmpfs=/t:mode=9", "true"], &["--tmpfs=", "\"9\"", "octal"]),
    (&["run", "--tmpfs=/t:size=1,size=2,frob", "true"], &["--tmpfs="]),
    (&["run", "-M", "", "-f", "@/empty.json", "true"], &["@/empty.json:1:", "the end of the file"]),
    (&["run", "-f", "@/type.json"], &["@/type.json:1:3", "a number from 0 to", "correct the file"]),
    (&["run", "-f", "@/notify.json"], &["\"uname\"", "system_calls.notify", "leave it out"]),
    (&["run", "-f", "@/twice.json"], &["@/twice.json:1:", "given twice"]),
    (&["run", "-f", "@/noise.json"], &["@/noise.json:1:1"]),
    (&["run", "-f", "@/deep.json"], &["@/deep.json:1:", "nested more than"]),
    (&["run", "-f", "@/many.json"], &["@/many.json:1:", "more than 100000 values", "leave out"]),
    (&["run", "-f", "@/version.json"], &["version 9"]),
    (&["run", "-f", "@/noise.nspawn"], &["@/noise.nspawn:1:1", "1048576 are the most"]),
    (&["check", "@/file.nspawn", "@/gone.nspawn"], &["@/gone.nspawn", "name a file"]),
];

fn tree() -> Scratch {
    let tree = Scratch::new("bad");
    tree.file("file", "");
    tree.file("unknown.nspawn", "[Exec]\nHostnam=x\nParameters=true\n");
    tree.file("boot.nspawn", "[Exec]\nPrivateUsersDelegate=1\n");
    tree.file("header.nspawn", "[Exec\nParameters=true\n");
    tree.file("bind.nspawn", "[Exec]\nParameters=true\n[Files]\nBindReadOnly=/missing/book\n");
    tree.file("file.nspawn", "");
    tree.file("good.json", r#"{ "command": ["true"] }"#);
    tree.file("empty.json", "");
    tree.file("type.json", r#"{ "umask": "077" }"#);
    tree.file("notify.json", r#"{ "command": ["true"], "system_calls": { "notify": ["uname"] } }"#);
    tree.file("twice.json", r#"{ "umask": 1, "umask": 2 }"#);
    tree.file("deep.json", &format!(r#"{{ "environment": {{ "A": {} "#, "[".repeat(100_000)));
    tree.file("version.json", r#"{ "version": 9, "command": ["true"] }"#);
    let mounts: Vec<String> =
        (0..100_000).map(|nth| format!(r#"{{"target":"/t/{nth}","kind":{{"bind":{{"source":"/usr"}}}}}}"#)).collect();
    tree.file("many.json", &format!(r#"{{ "command": ["true"], "mounts": [{}] }}"#, mounts.join(",")));
    // 3 MB of noise; ASCII and not, with line ends.
    let noise: String =
        (0..1_500_000_u32).map(|n| char::from_u32(n.wrapping_mul(2_654_435_761) >> 24).unwrap_or('x')).collect();
    tree.file("noise.json", &noise);
    tree.file("noise.nspawn", &noise);
    std::os::unix::fs::symlink("loop", tree.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("/missing/target", tree.path().join("dangling")).unwrap();
    tree
}

/// What a start could leave: mounts, cgroups, processes. Processes whose
/// parent is gone become this one's children.
pub(crate) fn leftovers() -> BTreeSet<String> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let mut found: BTreeSet<String> = mounts.lines().map(|line| format!("mount {line}")).collect();
    groups(Path::new("/sys/fs/cgroup"), 6, &mut found);
    let own = std::process::id().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // What has ended waits for this test, its subreaper, and for nobody else.
        if fields.get(1) == Some(&own.as_str()) && fields.first() != Some(&"Z") {
            found.insert(format!("process {stat}"));
        }
    }
    found
}

/// The cgroups that belong to a container of this test.
fn groups(directory: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name().to_string_lossy().contains("skep-bad-input") {
            found.insert(format!("cgroup {}", entry.path().display()));
        }
        if depth > 0 {
            groups(&entry.path(), depth - 1, found);
        }
    }
}

#[test]
fn bad_inputs_say_where_and_what_to_do_and_leave_nothing() {
    assert!(CASES.len() >= 110);
    let able = containers("bad inputs that only a start meets").is_some();
    let _alone = CONTAINERS.write().unwrap();
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    skep_tests::own_mounts();
    let tree = tree();
    let at = tree.path().display().to_string();
    let before = leftovers();
    let mut wrong = Vec::new();
    for (words, expected) in CASES {
        let mut words: Vec<String> =
            words.iter().map(|word| word.replace('@', &at).replace("LONG", &"n".repeat(256))).collect();
        if words.first().is_some_and(|verb| verb == "run")
            && !words.iter().any(|word| word.starts_with("-M"))
            && words.len() > 2
        {
            words.insert(1, "-Mbad-input".to_owned());
        }
        let ran = skep(&words);
        let mut complain = |what: &str| wrong.push(format!("{words:?}: {what}\n{ran:?}"));
        if ran.code != Some(1) {
            complain("the exit code is not 1");
        }
        // Where no container can be started, that is the message instead.
        let met = expected.iter().all(|part| ran.stderr.contains(&part.replace('@', &at)));
        if able && !met {
            complain(&format!("the message lacks one of {expected:?}"));
        }
        let last = ran.stderr.lines().last().unwrap_or_default();
        if !last.starts_with("skep: ") || last.chars().any(char::is_control) || ran.stderr.lines().count() > 2 {
            complain("not one plain line");
        }
        if ran.stderr.contains("hunter2") {
            complain("a secret is shown");
        }
        // A watcher notices the end of its launcher, and then ends.
        let mut after = leftovers();
        for _ in 0..100 {
            if after == before {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            after = leftovers();
        }
        if after != before {
            complain(&format!("left behind: {:?}", after.difference(&before)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// In a strict container nothing may make user namespaces: the launcher says
/// so, and which setting it is.
#[test]
fn without_user_namespaces_the_setting_is_named() {
    let Some(_containers) = containers("no user namespaces allowed") else { return };
    let ran = skep(["run", "-q", &format!("--bind-ro={}:/skep", crate::stand::SKEP), "/skep", "run", "-q", "true"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("user.max_user_namespaces"), "{ran:?}");
}
