//! Builds stage B, the executable that runs in a new container before the
//! payload: without std, without libc, always optimised, whatever flags the
//! embedder builds with.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let output = PathBuf::from(variable("OUT_DIR")).join("stage-b");
    println!("cargo::rerun-if-changed=stage");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");

    // No two segments share a page, and the kernel maps none that does not lie
    // as in the file: of aarch64 there are kernels with pages of 4, 16 and 64
    // KiB. The distance is one of addresses; the file does not grow by it.
    let page = if variable("CARGO_CFG_TARGET_ARCH") == "aarch64" { 65_536 } else { 4096 };

    // Nobody makes anything read-only after a relocation: without that, its last
    // segment has no page that the kernel clears at each exec.
    let layout = "--build-id=none,-z,noseparate-code,-z,norelro,--gc-sections";

    // No wrapper and no RUSTFLAGS: sanitizers, coverage and debug assertions
    // of the embedder have no place in a process without a runtime.
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--crate-name", "skep_stage", "--crate-type", "bin", "--edition", "2024"])
        .args(["--target", &variable("TARGET"), "--cfg", "skep_stage", "--check-cfg", "cfg(skep_stage)"])
        // It is written at every start: two pages fewer than with what is inlined otherwise.
        .args(["-C", "opt-level=3", "-C", "llvm-args=-inline-threshold=50"])
        .args(["-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"])
        .args(["-C", "debug-assertions=off", "-C", "overflow-checks=off", "-C", "strip=symbols"])
        .args(["-C", "relocation-model=static", "-C", "force-unwind-tables=no"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib", "-C", "link-arg=-static"])
        .arg("-C")
        .arg(format!("link-arg=-Wl,{layout},-z,max-page-size={page}"))
        .arg("-o")
        .arg(&output)
        .arg(root.join("stage/main.rs"));
    if variable("CARGO_CFG_TARGET_ENV") == "musl" {
        // The compiler brings musl's start files along, and puts them beside ours.
        rustc.args(["-C", "link-self-contained=no"]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let status = rustc.status();
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        eprintln!("stage B did not build ({status:?}): {rustc:?}");
        exit(1);
    }
}
