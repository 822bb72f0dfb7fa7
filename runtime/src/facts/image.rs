//! Disk images: which file system of one is the root.
//!
//! Read from the image, bounded, and never trusted: a table of partitions
//! (UEFI specification, 5.3 "GUID Partition Table") counts where both of its
//! checksums are right and everything in it lies within the image.

use std::fmt;

/// Where the root's file system lies in an image, and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DiskImage {
    /// As `mount(8)` names it.
    pub file_system: &'static str,
    /// Its first byte.
    pub offset: u64,
    /// How many bytes; 0 for all up to the end.
    pub size: u64,
    /// Whether it can be read only: by its kind, or as the partition's flag says.
    pub read_only: bool,
    /// Partitions that are left alone, though a system might want them.
    pub others: Vec<&'static str>,
}

/// Why an image has no root.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be read.
    #[error("it cannot be read to the end")]
    Unreadable,
    /// What it is, and is not taken apart.
    #[error("it is {0}")]
    Refused(&'static str),
    /// What is wrong with its table of partitions.
    #[error("its partition table is broken: {0}")]
    Broken(&'static str),
    /// It has partitions, and none of them is a root.
    #[error("it has {0} partitions, and none is a root file system of this architecture")]
    NoRoot(usize),
    /// Nothing in it is known.
    #[error("it holds no file system that is known here: ext4, xfs, btrfs, squashfs or erofs")]
    Unknown,
}

type Looked<T> = Result<T, ImageError>;

/// A type of partitions (Discoverable Partitions Specification).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Guid([u8; 16]);

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x?}", self.0)
    }
}

/// `XXXXXXXX-XXXX-XXXX-XXXXXXXXXXXXXXXX` by its parts: the first three are stored
/// with the low byte first.
const fn guid(first: u32, second: u16, third: u16, rest: u64) -> Guid {
    let ([a, b, c, d], [e, f], [g, h]) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes());
    let [i, j, k, l, m, n, o, p] = rest.to_be_bytes();
    Guid([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

const ROOT: Guid = if cfg!(target_arch = "aarch64") {
    guid(0xb921_b045, 0x1df0, 0x41c3, 0xaf44_4c6f_280d_3fae)
} else {
    guid(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709)
};
const USR: Guid = if cfg!(target_arch = "aarch64") {
    guid(0xb0e0_1050, 0xee5f, 0x4390, 0x949a_9101_b171_04e9)
} else {
    guid(0x8484_680c, 0x9521, 0x48c6, 0x9c11_b072_0656_f69e)
};
/// "Linux file system": the root where it is the only one.
const LINUX: Guid = guid(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);
const OTHERS: &[(Guid, &str)] = &[
    (guid(0x933a_c7e1, 0x2eb4, 0x4f13, 0xb844_0e14_e2ae_f915), "home"),
    (guid(0x3b8f_8425, 0x20e0, 0x4f3b, 0x907f_1a25_a76f_98e8), "srv"),
    (guid(0x4d21_b016, 0xb534, 0x45c2, 0xa9fb_5c16_e091_fd2d), "var"),
    (guid(0x7ec6_f557, 0x3bc5, 0x4aca, 0xb293_16ef_5df6_39d1), "tmp"),
];

/// Flags of a partition.
const READ_ONLY: u64 = 1 << 60;
const NO_AUTO: u64 = 1 << 63;

/// More partitions than any tool makes.
const MOST: u32 = 1024;

struct Partition {
    kind: Guid,
    offset: u64,
    size: u64,
    flags: u64,
}

impl DiskImage {
    /// Looks into an image of `size` bytes; `read` fills all of its second argument
    /// from an offset on, or says that it cannot.
    ///
    /// # Errors
    ///
    /// Where there is no root to be had.
    pub fn look(size: u64, read: &dyn Fn(u64, &mut [u8]) -> bool) -> Result<Self, ImageError> {
        for sector in [512, 4096] {
            if at::<8>(size, read, sector).is_some_and(|signature| &signature == b"EFI PART") {
                return of_table(&table(size, read, sector)?, size, read);
            }
        }
        let read_only = |file_system| matches!(file_system, "squashfs" | "erofs");
        match file_system(size, read, 0)? {
            Some(file_system) => {
                let read_only = read_only(file_system);
                Ok(Self { file_system, offset: 0, size: 0, read_only, others: Vec::new() })
            }
            None if at::<2>(size, read, 510) == Some([0x55, 0xaa]) => {
                Err(ImageError::Refused("partitioned by an MBR, whose partitions do not say which is the root"))
            }
            None if size < 512 => Err(ImageError::Refused("smaller than one sector")),
            None => Err(ImageError::Unknown),
        }
    }
}

/// What is at an offset, if that lies within the image.
fn at<const N: usize>(size: u64, read: &dyn Fn(u64, &mut [u8]) -> bool, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let within = offset.checked_add(N as u64).is_some_and(|end| end <= size);
    (within && read(offset, &mut bytes)).then_some(bytes)
}

/// The file system that begins at an offset.
fn file_system(size: u64, read: &dyn Fn(u64, &mut [u8]) -> bool, offset: u64) -> Looked<Option<&'static str>> {
    let has = |place: u64, magic: &[u8]| {
        let found = offset.checked_add(place).and_then(|place| at::<8>(size, read, place));
        found.is_some_and(|found| found.starts_with(magic))
    };
    if has(0, b"LUKS\xba\xbe") {
        return Err(ImageError::Refused("encrypted (LUKS)"));
    }
    if has(0, b"verity\0\0") {
        return Err(ImageError::Refused("the hashes of another (dm-verity)"));
    }
    // Magic numbers of the kernel's own headers.
    let known: [(u64, &[u8], &str); 5] = [
        (0, b"hsqs", "squashfs"),
        (0, b"XFSB", "xfs"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
        (1080, &[0x53, 0xef], "ext4"),
        (65_536 + 64, b"_BHRfS_M", "btrfs"),
    ];
    Ok(known.into_iter().find(|(place, magic, _)| has(*place, magic)).map(|(_, _, name)| name))
}

/// CRC-32 of ISO 3309, as GPT has it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

fn word(bytes: &[u8], place: usize) -> u32 {
    bytes.get(place..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], place: usize) -> u64 {
    bytes.get(place..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_le_bytes)
}

/// The partitions of the first table.
fn table(size: u64, read: &dyn Fn(u64, &mut [u8]) -> bool, sector: u64) -> Looked<Vec<Partition>> {
    use ImageError::Broken;
    let mut header = at::<92>(size, read, sector).ok_or(ImageError::Unreadable)?;
    // No larger header than that of revision 1 is known.
    if word(&header, 8) != 0x0001_0000 || word(&header, 12) != 92 {
        return Err(Broken("another revision than 1.0"));
    }
    let sum = word(&header, 16);
    header[16..20].fill(0);
    if crc(&header) != sum {
        return Err(Broken("the checksum of its header is wrong"));
    }
    let (first, last) = (long(&header, 40), long(&header, 48));
    let (entries, count, length) = (long(&header, 72), word(&header, 80), word(&header, 84));
    if long(&header, 24) != 1 || count > MOST || !(128..=4096).contains(&length) || length % 8 != 0 {
        return Err(Broken("its header contradicts itself"));
    }
    let mut bytes = vec![0; count as usize * length as usize];
    let from =
        entries.checked_mul(sector).filter(|from| from.checked_add(bytes.len() as u64).is_some_and(|end| end <= size));
    if !from.is_some_and(|from| read(from, &mut bytes)) {
        return Err(Broken("its entries lie outside of the image"));
    }
    if crc(&bytes) != word(&header, 88) {
        return Err(Broken("the checksum of its entries is wrong"));
    }
    let mut all = Vec::new();
    for entry in bytes.chunks_exact(length as usize) {
        let Some(kind) = entry.first_chunk().copied().map(Guid).filter(|kind| kind.0 != [0; 16]) else { continue };
        let (begin, end) = (long(entry, 32), long(entry, 40));
        let bounds = begin.checked_mul(sector).zip(end.checked_add(1).and_then(|end| end.checked_mul(sector)));
        match bounds {
            Some((from, to)) if begin >= first && end <= last && from < to && to <= size => {
                all.push(Partition { kind, offset: from, size: to - from, flags: long(entry, 48) });
            }
            _ => return Err(Broken("a partition lies outside of the image")),
        }
    }
    Ok(all)
}

fn of_table(all: &[Partition], size: u64, read: &dyn Fn(u64, &mut [u8]) -> bool) -> Looked<DiskImage> {
    let wanted = |kind: Guid| all.iter().filter(move |one| one.kind == kind && one.flags & NO_AUTO == 0);
    if wanted(USR).next().is_some() {
        return Err(ImageError::Refused("one with its /usr in a partition of its own, which is not put together here"));
    }
    let mut plain = wanted(LINUX);
    let only = plain.next().filter(|_| plain.next().is_none());
    let root = wanted(ROOT).next().or(only).ok_or(ImageError::NoRoot(all.len()))?;
    let end = root.offset.saturating_add(root.size).min(size);
    let file_system = file_system(end, read, root.offset)?.ok_or(ImageError::Unknown)?;
    let read_only = root.flags & READ_ONLY != 0 || matches!(file_system, "squashfs" | "erofs");
    let others = OTHERS.iter().filter(|(kind, _)| wanted(*kind).next().is_some()).map(|(_, name)| *name).collect();
    Ok(DiskImage { file_system, offset: root.offset, size: root.size, read_only, others })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(image: &[u8]) -> Looked<DiskImage> {
        DiskImage::look(image.len() as u64, &|offset, bytes| {
            let part = usize::try_from(offset).ok().and_then(|from| image.get(from..from.checked_add(bytes.len())?));
            part.is_some_and(|part| {
                bytes.copy_from_slice(part);
                true
            })
        })
    }

    /// An image with these partitions: type, first and last sector, flags.
    fn image(sector: usize, all: &[(Guid, u64, u64, u64)]) -> Vec<u8> {
        let mut image = vec![0; sector * 300];
        let mut entries = vec![0; 128 * 128];
        for (entry, (kind, first, last, flags)) in entries.chunks_mut(128).zip(all) {
            entry[..16].copy_from_slice(&kind.0);
            entry[16] = 1;
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[48..56].copy_from_slice(&flags.to_le_bytes());
        }
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        for (place, value) in [(8, 0x0001_0000), (12, 92), (80, 128), (84, 128), (88, crc(&entries))] {
            header[place..place + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        for (place, value) in [(24, 1_u64), (32, 299), (40, 40), (48, 290), (72, 2)] {
            header[place..place + 8].copy_from_slice(&value.to_le_bytes());
        }
        let sum = crc(&header).to_le_bytes();
        header[16..20].copy_from_slice(&sum);
        image[sector..sector + 92].copy_from_slice(&header);
        image[2 * sector..2 * sector + entries.len()].copy_from_slice(&entries);
        image
    }

    fn ext4(image: &mut [u8], offset: usize) {
        image[offset + 1080..offset + 1082].copy_from_slice(&[0x53, 0xef]);
    }

    #[test]
    fn plain_file_systems_by_their_magic() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        for (place, magic, name, read_only) in [
            (0, &b"hsqs"[..], "squashfs", true),
            (0, b"XFSB", "xfs", false),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs", true),
            (1080, &[0x53, 0xef], "ext4", false),
            (65_600, b"_BHRfS_M", "btrfs", false),
        ] {
            let mut image = vec![0; 70_000];
            image[place..place + magic.len()].copy_from_slice(magic);
            let found = looked(&image).unwrap();
            assert_eq!((found.file_system, found.offset, found.size, found.read_only), (name, 0, 0, read_only));
        }
        let mut mbr = vec![0; 4096];
        (mbr[510], mbr[511]) = (0x55, 0xaa);
        let mut luks = vec![0; 4096];
        luks[..6].copy_from_slice(b"LUKS\xba\xbe");
        for (image, words) in
            [(&mbr[..], "an MBR"), (&luks, "LUKS"), (&[0; 9000], "no file system"), (&[], "one sector")]
        {
            let error = looked(image).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_root_of_a_table() {
        for sector in [512, 4096] {
            let mut both = image(sector, &[(LINUX, 40, 49, 0), (ROOT, 50, 99, READ_ONLY), (OTHERS[1].0, 100, 109, 0)]);
            ext4(&mut both, 50 * sector);
            let found = looked(&both).unwrap();
            let bytes = sector as u64;
            assert_eq!((found.offset, found.size, found.read_only), (50 * bytes, 50 * bytes, true));
            assert_eq!((found.file_system, &found.others[..]), ("ext4", &["srv"][..]));
        }
        let mut only = image(512, &[(LINUX, 40, 49, 0)]);
        ext4(&mut only, 40 * 512);
        assert_eq!(looked(&only).unwrap().offset, 40 * 512);
        for (all, words) in [
            (&[][..], "0 partitions"),
            (&[(LINUX, 40, 49, 0), (LINUX, 50, 59, 0)], "2 partitions"),
            (&[(ROOT, 40, 49, NO_AUTO)], "1 partitions"),
            (&[(ROOT, 40, 49, 0)], "no file system"),
            (&[(USR, 40, 49, 0), (ROOT, 50, 59, 0)], "/usr"),
            (&[(ROOT, 40, 291, 0)], "outside"),
            (&[(ROOT, 39, 49, 0)], "outside"),
            (&[(ROOT, 49, 48, 0)], "outside"),
            (&[(ROOT, 40, u64::MAX, 0)], "outside"),
        ] {
            let error = looked(&image(512, all)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_broken_byte_of_a_table_is_noticed() {
        let mut whole = image(512, &[(ROOT, 50, 99, 0)]);
        ext4(&mut whole, 50 * 512);
        assert!(looked(&whole).is_ok());
        for place in (520..604).chain(1024..1024 + 128) {
            let mut broken = whole.clone();
            broken[place] ^= 0x10;
            assert!(matches!(looked(&broken), Err(ImageError::Broken(_))), "{place}");
        }
        assert!(looked(&whole[..3000]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_image_is_taken_for_more_than_it_is(mut image in proptest::collection::vec(proptest::num::u8::ANY, 0..3000), gpt: bool) {
            if gpt && image.len() > 520 {
                image[512..520].copy_from_slice(b"EFI PART");
            }
            if let Ok(found) = looked(&image) {
                proptest::prop_assert!(found.offset + found.size <= image.len() as u64);
            }
        }
    }
}
