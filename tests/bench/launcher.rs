//! The launcher that is measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::Whole;
use crate::{Result, scratch};

/// Of how a launcher was built.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Libc {
    /// musl where that can be had.
    Best,
    Glibc,
}

/// What the guide has the launcher built for.
const MUSL: &str = match cfg!(target_arch = "aarch64") {
    true => "aarch64-unknown-linux-musl",
    false => "x86_64-unknown-linux-musl",
};

/// Whether there are two to measure.
pub(crate) fn has_choice() -> bool {
    std::env::var_os("SKEP").is_none() && has_musl()
}

/// Whether rustc has that target's library.
fn has_musl() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = Command::new(rustc).args(["--print", "target-libdir", "--target", MUSL]).output();
    found.is_ok_and(|found| Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_dir())
}

/// The launcher: the one that is named, else this workspace's, built if it is
/// not there or old.
pub(crate) fn launcher(libc: Libc, options: &[&str], payload: &[&str]) -> Result<Whole> {
    Ok(Whole::new(installed(libc)?, &[&["run", "-q", "--pipe"], options, &["--"], payload].concat()))
}

/// A copy of it, as an installation makes one. What a linker writes through
/// a mapping lies in the page cache page by page, and each fault of a start maps
/// sixteen of them one by one: a tenth of a start of the launcher's. The peers'
/// programs were written in one go, too.
pub(crate) fn installed(libc: Libc) -> Result<PathBuf> {
    let target = (libc == Libc::Best && has_choice()).then_some(MUSL);
    let copy = scratch().join(if target.is_some() { "skep-musl" } else { "skep" });
    if !copy.exists() {
        let program = std::env::var_os("SKEP").map_or_else(|| built(target), |given| Ok(given.into()))?;
        std::fs::copy(program, &copy)?;
    }
    Ok(copy)
}

fn built(target: Option<&str>) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // <target>/release/deps/starts-<hash>
    let Some(directory) = own.ancestors().nth(3) else {
        return Err("this program is not in a target directory; name the launcher in $SKEP".into());
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "skep-launcher", "--manifest-path", manifest])
        .args(target.map(|target| ["--target", target]).into_iter().flatten())
        .arg("--target-dir")
        .arg(directory)
        .output()?;
    if !built.status.success() {
        let text = String::from_utf8_lossy(&built.stderr);
        let why = text.lines().find(|line| line.starts_with("error")).unwrap_or_default();
        return Err(format!("cargo build --release -p skep-launcher: {why}").into());
    }
    Ok(target.map_or_else(|| directory.to_owned(), |target| directory.join(target)).join("release/skep"))
}
