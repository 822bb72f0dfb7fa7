//! Links a release of the launcher without shared libraries, where that works.
//!
//! A start takes a millisecond or two, and the dynamic linker a quarter of one:
//! it maps libc and libgcc_s and binds a few hundred symbols, of which most are
//! never called. The stable compiler can only be told so by a flag for the
//! whole build (`+crt-static`), which fails where libc.a is not installed. So
//! this script lets the names that rustc hands to the linker anyway (`-lc`,
//! `-lgcc_s`) lead to the archives, and tries that out on a small program that
//! starts a thread and unwinds. What does not work there is left alone:
//! without libc.a only the unwinder is put in, without that nothing changes.
//!
//! Address space randomisation, RELRO and immediate binding are as before.
//! `SKEP_DYNAMIC=1` leaves the link to rustc, as do flags of one's own.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TRIAL: &str = "fn main() {
    let thread = std::thread::spawn(|| std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7_u8))));
    let caught = thread.join().ok().and_then(Result::err).and_then(|value| value.downcast::<u8>().ok());
    let root = std::hint::black_box(49.0_f64).sqrt();
    std::process::exit(if caught.is_some_and(|value| f64::from(*value) == root) { 0 } else { 1 })
}";

/// A way to link: where the names lead, and what the linker is told besides.
struct Way {
    directory: PathBuf,
    arguments: &'static [&'static str],
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SKEP_DYNAMIC");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let plain = variable("PROFILE") == "release"
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
        && variable("HOST") == variable("TARGET")
        && variable("CARGO_ENCODED_RUSTFLAGS").is_empty()
        && env::var_os("SKEP_DYNAMIC").is_none();
    if !plain {
        return;
    }
    let output = PathBuf::from(variable("OUT_DIR"));
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let Some(way) = ways(&output, &linker).into_iter().find(|way| works(way, &output, &linker)) else { return };
    println!("cargo::rustc-link-search=native={}", way.directory.display());
    for argument in way.arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

/// The best first.
fn ways(output: &Path, linker: &str) -> Vec<Way> {
    let mut ways = Vec::new();
    let unwinder = ["libgcc_eh.a", "libgcc.a"].map(|name| archive(linker, name));
    let [Some(unwinder), Some(rest)] = unwinder else { return ways };
    let names = ["c", "m", "pthread", "dl", "rt", "util"];
    let archives: Option<Vec<_>> =
        names.iter().map(|name| Some((*name, archive(linker, &format!("lib{name}.a"))?))).collect();
    if let Some(archives) = archives
        && let Some((_, libc)) = archives.first()
    {
        let mut scripts: Vec<_> =
            archives.iter().map(|(name, own)| (*name, vec![own, libc, &unwinder, &rest])).collect();
        scripts.push(("gcc_s", vec![&unwinder, libc, &rest]));
        // The second: what is weak and nowhere defined is null, and not left to
        // a dynamic linker that will not run. The third: eight thousand
        // relocations in 2 KiB instead of 195; glibc can do that since 2.36.
        const PACKED: &[&str] = &["-static-pie", "-Wl,-z,nodynamic-undefined-weak", "-Wl,-z,pack-relative-relocs"];
        let directory = lead(output.join("static"), &scripts);
        let ways_of = |directory: PathBuf| {
            [PACKED, &PACKED[..2]].map(|arguments| Way { directory: directory.clone(), arguments })
        };
        ways.extend(directory.into_iter().flat_map(ways_of));
    }
    let scripts = [("gcc_s", vec![&unwinder, &rest])];
    ways.extend(lead(output.join("unwinder"), &scripts).map(|directory| Way { directory, arguments: &[] }));
    ways
}

/// Where the compiler has an archive; it echoes the name of one that it lacks.
fn archive(linker: &str, name: &str) -> Option<PathBuf> {
    let answer = Command::new(linker).arg(format!("-print-file-name={name}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim());
    path.is_absolute().then_some(path).filter(|path| path.is_file())
}

/// A directory of linker scripts, each in the place of a shared library.
fn lead(directory: PathBuf, scripts: &[(&str, Vec<&PathBuf>)]) -> Option<PathBuf> {
    std::fs::create_dir_all(&directory).ok()?;
    for (name, archives) in scripts {
        let mut script = "GROUP (".to_owned();
        for archive in archives {
            let _ = write!(script, " \"{}\"", archive.display());
        }
        std::fs::write(directory.join(format!("lib{name}.so")), script + " )\n").ok()?;
    }
    Some(directory)
}

fn works(way: &Way, output: &Path, linker: &str) -> bool {
    let (source, program) = (output.join("trial.rs"), output.join("trial"));
    if std::fs::write(&source, TRIAL).is_err() {
        return false;
    }
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "-Cdebuginfo=0"]).arg(format!("-Clinker={linker}"));
    rustc.arg(format!("-Lnative={}", way.directory.display()));
    rustc.args(way.arguments.iter().map(|argument| format!("-Clink-arg={argument}")));
    let built = rustc.arg("-o").arg(&program).arg(&source).output();
    built.is_ok_and(|built| built.status.success())
        && Command::new(&program).output().is_ok_and(|ran| ran.status.success())
}
