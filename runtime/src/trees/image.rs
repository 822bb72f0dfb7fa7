//! The file system of a disk image, mounted nowhere: what a container gets for its
//! root, and what is gone with the last descriptor of it.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Resolve};
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Slot};

use crate::compile::{c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{DiskImage, ImageError};

const IMAGE: Slot = Slot(0);
const DEVICE: Slot = Slot(1);
const CONTEXT: Slot = Slot(2);
const MOUNT: Slot = Slot(3);

/// A file system that is mounted nowhere.
pub(crate) struct Mounted {
    pub(crate) tree: OwnedFd,
    /// What it is part of, and what of that.
    pub(crate) image: DiskImage,
}

impl Mounted {
    /// Under which path this process can look at it.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.tree.as_raw_fd()).into()
    }
}

/// Mounts the root of the image at `path`.
pub(crate) fn mount<K: Kernel>(kernel: &mut K, path: &Path, read_only: bool) -> Result<Mounted> {
    let shown = path.display();
    let failed = |what: &str, errno| Error::system(format!("{what} the disk image {shown}"), errno);
    let mut slots = OwnedSlots::new(4);
    let name = c_path(path)?;
    let flags = if read_only { OpenFlags::NONE } else { OpenFlags::READ_WRITE };
    let resolve = Resolve::NO_MAGICLINKS;
    let open = Op::OpenAt2 { dir: At::Cwd, path: &name, flags, mode: 0, resolve, into: IMAGE };
    kernel
        .call(&open, &mut slots.slots())
        .map_err(|errno| failed("open", errno).remedy("Name a file that holds a file system, or a block device."))?;
    let file = slots.borrow(IMAGE).and_then(|file| file.try_clone_to_owned().ok());
    let file = File::from(file.ok_or_else(|| failed("open", Errno::EMFILE))?);
    let image = look(&file).map_err(|why| {
        Error::new(ErrorKind::Unsupported, format!("take the disk image {shown} for a root: {why}")).remedy(match why {
            ImageError::Broken(_) => "Mend it (sgdisk --verify), or mount it yourself and name the directory.",
            _ => "Images of one file system and GPT images with a root partition are taken; mount any other yourself, and name the directory.",
        })
    })?;
    let read_only = read_only || image.read_only;
    let DiskImage { offset, size, file_system, .. } = image;
    let attach = Op::LoopDevice { image: IMAGE, offset, size, read_only, into: DEVICE };
    kernel.call(&attach, &mut slots.slots()).map_err(|errno| {
        let error = failed("attach a loop device to", errno);
        error.remedy("The kernel needs its module `loop`, and this caller to be root.")
    })?;
    let kind = c_text(file_system.as_bytes())?;
    let mut calls = vec![Op::FsOpen { kind: &kind, into: CONTEXT }, Op::FsDevice { fs: CONTEXT, device: DEVICE }];
    if read_only {
        calls.push(Op::FsFlag { fs: CONTEXT, key: c"ro" });
    }
    let attrs = MountAttrs::NOSUID.with(MountAttrs::NODEV);
    calls.extend([Op::FsCreate { fs: CONTEXT }, Op::FsMount { fs: CONTEXT, attrs, into: MOUNT }]);
    for call in &calls {
        kernel.call(call, &mut slots.slots()).map_err(|errno| {
            let error = failed(&format!("mount the {file_system} of"), errno);
            match errno {
                Errno::ENODEV => error.remedy("The kernel has no such file system: load its module."),
                Errno::EROFS => {
                    error.remedy("It was not unmounted cleanly, which reading alone does not mend: check it (fsck).")
                }
                Errno::EUCLEAN | Errno::EINVAL => error.remedy("It is damaged: check it (fsck)."),
                _ => error,
            }
        })?;
    }
    let tree = slots.take(MOUNT).ok_or_else(|| failed("mount", Errno::EBADF))?;
    Ok(Mounted { tree, image: DiskImage { read_only, ..image } })
}

fn look(mut file: &File) -> std::result::Result<DiskImage, ImageError> {
    // Also of a block device, whose metadata have no size.
    let size = file.seek(SeekFrom::End(0)).map_err(|_| ImageError::Unreadable)?;
    DiskImage::look(size, &|offset, bytes| file.read_exact_at(bytes, offset).is_ok())
}
