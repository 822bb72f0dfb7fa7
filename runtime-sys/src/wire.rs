//! The flat form of an op: how it goes into a plan and comes out again.
//!
//! Length-prefixed, little-endian, no pointers: it can be handed to another
//! process as it is. Reading allocates nothing and cannot panic; what it gives
//! borrows from the bytes.

use core::ffi::CStr;
use core::fmt;

use crate::abi::{
    CapabilitySet, MountAttrs, Namespaces, OpenFlags, Propagation, Resolve, Resource, Seals, SeccompFlags, SecureBits,
    TreeFlags,
};
use crate::errno::Errno;
use crate::op::{At, Proof, Slot};

/// A cursor over the flat form.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the head of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes; `None` when there are fewer.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    // One copy in stage B, as of whatever most ops have.
    #[cfg_attr(skep_stage, inline(never))]
    pub(crate) fn word(&mut self) -> Option<u64> {
        let (head, tail) = self.rest.split_first_chunk::<8>()?;
        self.rest = tail;
        Some(u64::from_le_bytes(*head))
    }

    pub(crate) fn half(&mut self) -> Option<u32> {
        let (head, tail) = self.rest.split_first_chunk::<4>()?;
        self.rest = tail;
        Some(u32::from_le_bytes(*head))
    }
}

/// Where the flat form is written to.
pub trait Writer {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);

    // Most of a plan is these: a length that is known here is a store there,
    // not a copy.

    /// Appends one byte.
    fn byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    /// Appends one word.
    fn word(&mut self, word: u64) {
        self.put(&word.to_le_bytes());
    }

    /// Appends the length of `bytes`, then `bytes`.
    fn sized(&mut self, bytes: &[u8]) {
        // A plan is bounded far below 4 GiB by its writer.
        self.put(&(bytes.len() as u32).to_le_bytes());
        self.put(bytes);
    }
}

#[cfg(not(skep_stage))]
impl Writer for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A type that can be an argument of an op.
pub trait Argument<'a>: Sized {
    /// Reads one; `None` when the bytes are not one.
    fn read(from: &mut Reader<'a>) -> Option<Self>;
    /// Writes one.
    fn write(&self, to: &mut dyn Writer);
    /// Prints one as a person would write it.
    ///
    /// # Errors
    ///
    /// What the formatter answered.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

macro_rules! numeric {
    ($($type:ty),*) => {$(
        impl Argument<'_> for $type {
            #[cfg_attr(skep_stage, inline(never))]
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                <$type>::try_from(from.word()?).ok()
            }
            fn write(&self, to: &mut dyn Writer) {
                to.word(u64::from(*self));
            }
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}
numeric!(u8, u16, u32, u64);

macro_rules! newtypes {
    ($($type:ident($repr:ty)),*) => {$(
        impl Argument<'_> for $type {
            #[cfg_attr(skep_stage, inline(never))]
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                <$repr>::try_from(from.word()?).ok().map($type)
            }
            fn write(&self, to: &mut dyn Writer) {
                to.word(u64::from(self.0));
            }
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}
newtypes!(
    Namespaces(u64),
    OpenFlags(u32),
    Resolve(u64),
    MountAttrs(u64),
    Propagation(u64),
    TreeFlags(u32),
    SecureBits(u32),
    SeccompFlags(u32),
    Seals(u32),
    CapabilitySet(u64),
    Resource(u8),
    Slot(u16)
);

impl Argument<'_> for bool {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.word()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    fn write(&self, to: &mut dyn Writer) {
        u8::from(*self).write(to);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Argument<'_> for Errno {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        u16::read(from).map(Errno::from_raw)
    }
    fn write(&self, to: &mut dyn Writer) {
        self.raw().write(to);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// 0 is "none"; everything else is shifted by one.
impl Argument<'_> for Option<Slot> {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.word()? {
            0 => Some(None),
            other => u16::try_from(other.wrapping_sub(1)).ok().map(|slot| Some(Slot(slot))),
        }
    }
    fn write(&self, to: &mut dyn Writer) {
        self.map_or(0, |slot| u64::from(slot.0).wrapping_add(1)).write(to);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(slot) => write!(f, "{slot}"),
            None => f.write_str("-"),
        }
    }
}

impl Argument<'_> for At {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Option::<Slot>::read(from).map(|slot| slot.map_or(At::Cwd, At::Slot))
    }
    fn write(&self, to: &mut dyn Writer) {
        match self {
            At::Cwd => None.write(to),
            At::Slot(slot) => Some(*slot).write(to),
        }
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Cwd => f.write_str("cwd"),
            At::Slot(slot) => write!(f, "{slot}"),
        }
    }
}

fn read_bytes<'a>(from: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(from.half()?).ok()?;
    from.take(length)
}

impl<'a> Argument<'a> for &'a CStr {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        CStr::from_bytes_with_nul(read_bytes(from)?).ok()
    }
    fn write(&self, to: &mut dyn Writer) {
        to.sized(self.to_bytes_with_nul());
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_text(self.to_bytes(), f)
    }
}

/// Text of unknown origin, printed so that it cannot act on a terminal:
/// control characters, quotes and what is not UTF-8 are escaped.
pub(crate) fn show_text(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\'');
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)));
    }
    f.write_str("\"")?;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ' '..='~' if !matches!(character, '"' | '\\') => write!(f, "{character}")?,
                _ if character.is_alphanumeric() => write!(f, "{character}")?,
                _ => write!(f, "{}", character.escape_default())?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_str("\"")
}

/// Bytes that are not text: a filter, the content of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blob<'a>(pub &'a [u8]);

impl<'a> Argument<'a> for Blob<'a> {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        read_bytes(from).map(Blob)
    }
    fn write(&self, to: &mut dyn Writer) {
        to.sized(self.0);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 160 && self.0.utf8_chunks().all(|chunk| chunk.invalid().is_empty()) {
            show_text(self.0, f)
        } else {
            write!(f, "({} bytes)", self.0.len())
        }
    }
}

/// Bytes that must not be shown: the content of a secret file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretBlob<'a>(pub &'a [u8]);

impl fmt::Debug for SecretBlob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f)
    }
}

impl<'a> Argument<'a> for SecretBlob<'a> {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        read_bytes(from).map(SecretBlob)
    }
    fn write(&self, to: &mut dyn Writer) {
        to.sized(self.0);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Values that must not be shown: environment, credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(pub Strings<'a>);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f)
    }
}

impl<'a> Argument<'a> for Secret<'a> {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Strings::read(from).map(Secret)
    }
    fn write(&self, to: &mut dyn Writer) {
        self.0.write(to);
    }
    /// The names stay, the values go.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, entry) in self.0.iter().enumerate() {
            let bytes = entry.to_bytes();
            let end = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
            f.write_str(if index == 0 { "" } else { " " })?;
            show_text(bytes.get(..end).unwrap_or_default(), f)?;
        }
        f.write_str("]")
    }
}

/// A list of NUL-terminated strings in one run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strings<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Strings<'a> {
    /// `bytes` holds strings that each end in NUL. `None` when the last one
    /// does not.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.last().is_some_and(|last| *last != 0) {
            return None;
        }
        let count = bytes.iter().filter(|byte| **byte == 0).count();
        Some(Self { count: u32::try_from(count).ok()?, bytes })
    }

    /// How many strings there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The strings, in order.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let string = CStr::from_bytes_until_nul(rest).ok()?;
            rest = rest.get(string.to_bytes_with_nul().len()..)?;
            Some(string)
        })
    }
}

impl<'a> Argument<'a> for Strings<'a> {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Self::new(read_bytes(from)?)
    }
    fn write(&self, to: &mut dyn Writer) {
        to.sized(self.bytes);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, entry) in self.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            show_text(entry.to_bytes(), f)?;
        }
        f.write_str("]")
    }
}

/// A list of 32-bit numbers (group ids), little-endian and unaligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    /// No numbers.
    pub const NONE: Self = Self(&[]);
}

impl<'a> Numbers<'a> {
    /// `None` when the length is not a multiple of four.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len().is_multiple_of(4) { Some(Self(bytes)) } else { None }
    }

    /// How many numbers there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, as the kernel takes them on a little-endian machine.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The numbers, in order.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        let mut reader = Reader::new(self.0);
        core::iter::from_fn(move || reader.half())
    }
}

impl<'a> Argument<'a> for Numbers<'a> {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Self::new(read_bytes(from)?)
    }
    fn write(&self, to: &mut dyn Writer) {
        to.sized(self.0);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, number) in self.iter().enumerate() {
            write!(f, "{}{number}", if index == 0 { "" } else { " " })?;
        }
        f.write_str("]")
    }
}

impl<'a> Argument<'a> for Proof {
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        let (kind, one, two) = (from.word()?, from.word()?, from.word()?);
        // One form for each: what a proof has no use for is nothing.
        Some(match (kind, one, two) {
            (0, magic, 0) => Proof::FileSystem { magic },
            (1, device, inode) => Proof::Inode { device, inode },
            (2, major, minor) => {
                Proof::CharDevice { major: u32::try_from(major).ok()?, minor: u32::try_from(minor).ok()? }
            }
            (3, 0, 0) => Proof::OwnedByRoot,
            (5, 0, 0) => Proof::Passable,
            (7, uid, private @ (0 | 1)) => Proof::OwnDirectory { uid: u32::try_from(uid).ok()?, private: private == 1 },
            (6, kind, 0) => Proof::Namespace { kind: Namespaces(kind) },
            (4, major, minor) => {
                Proof::BlockDevice { major: u32::try_from(major).ok()?, minor: u32::try_from(minor).ok()? }
            }
            _ => return None,
        })
    }
    fn write(&self, to: &mut dyn Writer) {
        let (kind, one, two): (u64, u64, u64) = match *self {
            Proof::FileSystem { magic } => (0, magic, 0),
            Proof::Inode { device, inode } => (1, device, inode),
            Proof::CharDevice { major, minor } => (2, u64::from(major), u64::from(minor)),
            Proof::OwnedByRoot => (3, 0, 0),
            Proof::Passable => (5, 0, 0),
            Proof::OwnDirectory { uid, private } => (7, u64::from(uid), u64::from(private)),
            Proof::Namespace { kind } => (6, kind.0, 0),
            Proof::BlockDevice { major, minor } => (4, u64::from(major), u64::from(minor)),
        };
        kind.write(to);
        one.write(to);
        two.write(to);
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::FileSystem { magic } => write!(f, "file-system={magic:#x}"),
            Proof::Inode { device, inode } => write!(f, "inode={device:x}:{inode}"),
            Proof::CharDevice { major, minor } => write!(f, "char-device={major}:{minor}"),
            Proof::OwnedByRoot => f.write_str("owned-by-root"),
            Proof::Passable => f.write_str("passable"),
            Proof::OwnDirectory { uid, private } => {
                write!(f, "{}directory-of={uid}", if *private { "private-" } else { "" })
            }
            Proof::Namespace { kind } => write!(f, "namespace={kind}"),
            Proof::BlockDevice { major, minor } => write!(f, "block-device={major}:{minor}"),
        }
    }
}
