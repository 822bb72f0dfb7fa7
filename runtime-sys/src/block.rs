//! Block devices: loop devices (`loop(4)`), and the path of a device that is open.
//!
//! Compiled into the library only.

use core::ffi::CStr;
use std::ffi::CString;

use crate::abi::{OpenFlags, OpenHow};
use crate::errno::Errno;
use crate::linux::{Word, ask, close, openat2, statx, statx_at};
use crate::raw::nr;

/// `linux/loop.h`
const LOOP_CTL_GET_FREE: u64 = 0x4c82;
const LOOP_CONFIGURE: u64 = 0x4c0a;
const READ_ONLY: u64 = 1;
const AUTOCLEAR: u64 = 4;

/// How often another device is asked for, where somebody else was faster.
const TRIES: u32 = 64;

/// `struct loop_config`: a descriptor and a block size, `struct loop_info64`, eight
/// words of nothing.
type Config = [u64; 38];

/// A new loop device for `[offset, size]` of an open file.
pub(crate) fn attach(image: i32, [offset, size]: [u64; 2], read_only: bool) -> Result<i32, Errno> {
    let control = open(c"/dev/loop-control", false)?;
    let device = attach_by(control, image, [offset, size], read_only);
    close(control);
    device
}

fn open(path: &CStr, read_only: bool) -> Result<i32, Errno> {
    // O_RDWR, O_CLOEXEC|O_NOCTTY
    let flags = if read_only { 0 } else { u64::from(OpenFlags::READ_WRITE.0) } | 0o2_000_000 | 0o400;
    openat2(Word::CWD, path, &OpenHow { flags, mode: 0, resolve: 0 })
}

fn attach_by(control: i32, image: i32, [offset, size]: [u64; 2], read_only: bool) -> Result<i32, Errno> {
    let mut config: Config = [0; 38];
    config[0] = u64::from(image as u32);
    (config[4], config[5]) = (offset, size);
    config[7] = (AUTOCLEAR | if read_only { READ_ONLY } else { 0 }) << 32;
    for _ in 0..TRIES {
        let number = ask(nr::IOCTL, [Word::descriptor(control), Word::number(LOOP_CTL_GET_FREE)])?;
        let path = CString::new(format!("/dev/loop{number}")).map_err(|_| Errno::EINVAL)?;
        let device = open(&path, read_only)?;
        match ask(nr::IOCTL, [Word::descriptor(device), Word::number(LOOP_CONFIGURE), Word::of(&config)]) {
            Ok(_) => return Ok(device),
            Err(errno) => {
                close(device);
                if errno != Errno::EBUSY {
                    return Err(errno);
                }
            }
        }
    }
    Err(Errno::EBUSY)
}

/// By which path a device was opened, if that is still the device.
pub(crate) fn path(device: i32) -> Result<CString, Errno> {
    let link = CString::new(format!("/proc/self/fd/{device}")).map_err(|_| Errno::EINVAL)?;
    let mut text = [0_u8; 256];
    let length = text.len() as u64;
    let length = ask(nr::READLINKAT, [Word::CWD, Word::text(&link), Word::of_mut(&mut text), Word::number(length)])?;
    let path = CString::new(text.get(..length).unwrap_or_default()).map_err(|_| Errno::EINVAL)?;
    let (own, found) = (statx(device)?, statx_at(Word::CWD, &path, 0).map_err(|_| Errno::ESTALE)?);
    let same = own.kind() == 0o060_000 && found.kind() == own.kind() && found.device_number() == own.device_number();
    if same { Ok(path) } else { Err(Errno::ESTALE) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_device_shows_a_part_and_goes_with_its_last_user() {
        let mut file = tempfile();
        let control = std::fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control");
        if let Err(error) = control {
            let _ = writeln!(std::io::stderr(), "SKIP a_device_shows_a_part: {error}");
            return;
        }
        file.write_all(&[1; 4096]).unwrap();
        file.write_all(&[2; 4096]).unwrap();
        file.write_all(&[3; 4096]).unwrap();
        let device = attach(file.as_raw_fd(), [4096, 4096], true).unwrap();
        let name = path(device).unwrap();
        assert!(name.to_bytes().starts_with(b"/dev/loop"), "{name:?}");
        let shown = std::fs::read(name.to_str().unwrap()).unwrap();
        assert!(shown.len() == 4096 && shown.iter().all(|byte| *byte == 2));
        assert!(std::fs::write(name.to_str().unwrap(), [0; 512]).is_err(), "it can be written");
        close(device);
        let backing = format!("/sys/block/{}/loop/backing_file", &name.to_str().unwrap()[5..]);
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            !std::fs::read_to_string(&backing).is_ok_and(|path| path.contains("skep-block"))
        });
        assert!(gone, "{backing} stays");
        assert_eq!(path(file.as_raw_fd()), Err(Errno::ESTALE), "no device");
    }

    fn tempfile() -> std::fs::File {
        let path = std::env::temp_dir().join(format!("skep-block-{}", std::process::id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    }
}
