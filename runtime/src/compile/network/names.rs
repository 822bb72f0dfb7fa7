//! Names and hardware addresses, which are those that `systemd-nspawn` gives, so that
//! rules of the host for either hold for both.

use std::hash::Hasher as _;

use crate::spec::MachineName;

/// SipHash-2-4, which the standard library has under a name that it would rather not
/// have: what it calls "default" may change, what it calls this may not.
#[allow(deprecated, reason = "the algorithm is meant, not some hasher")]
fn siphash(key: u128, parts: &[&[u8]]) -> u64 {
    let bytes = key.to_be_bytes();
    let (first, second) = bytes.split_at(8);
    let word = |half: &[u8]| half.first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
    let mut hasher = std::hash::SipHasher::new_with_keys(word(first), word(second));
    hasher.write(&parts.concat());
    hasher.finish()
}

/// The longest name of an interface.
pub(super) const LONGEST: usize = 15;

/// A name that an interface can have: of a longer one the beginning and four
/// characters of a hash of the whole.
pub(super) fn short(name: &str) -> String {
    const KEY: u128 = 0xe190_a404_a8ef_4b51_8ccc_c33a_9f11_fca2;
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let hash = siphash(KEY, &[name.as_bytes()]);
    let digits = [18, 12, 6, 0].map(|shift| char::from(DIGITS[(hash >> shift & 63) as usize]));
    name.chars().take(LONGEST - digits.len()).chain(digits).collect()
}

/// Whose hardware address it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Host,
    Inside,
    ExtraHost,
    ExtraInside,
    Macvlan,
}

/// A hardware address that is the same at every start: by the host's machine id and the
/// container's name, and the number of the interface of its kind.
pub(super) fn hardware_address(machine_id: [u8; 16], machine: &MachineName, end: End, number: u64) -> [u8; 6] {
    let key = match end {
        End::Host => 0x1a37_6fc7_46ec_450b_ada3_d531_0660_5db1,
        End::Inside => 0xc3c4_f919_b557_b21c_e6cf_1427_039c_eea2,
        End::ExtraHost => 0x48c7_f6b7_ea9d_4c9e_b728_d4de_91d5_bf66,
        End::ExtraInside => 0xaf50_1761_cef9_4d35_840d_2b20_54be_ce59,
        End::Macvlan => 0x0013_6dbc_6683_4481_bb0c_f951_1f24_a66f,
    };
    let bytes = number.to_le_bytes();
    let counted: &[u8] = if number > 0 { &bytes } else { &[] };
    let hash = siphash(key, &[&machine_id, machine.as_str().as_bytes(), counted]).to_le_bytes();
    let [mut first, second, third, fourth, fifth, sixth, ..] = hash;
    // Locally administered, and of one card.
    first = first & 0xfe | 0x02;
    [first, second, third, fourth, fifth, sixth]
}

/// By which number of the networks of two a container begins to look for one.
pub(super) fn place(machine: &MachineName) -> u64 {
    siphash(u128::from_be_bytes(*b"skep: a network\0"), &[machine.as_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_as_systemd_does() {
        assert_eq!(short("ve-averyveryverylongname"), "ve-averyverUARo");
        assert_eq!(short("ve-web"), "ve-web");
        assert_eq!(short("ve-twelve-byte1"), "ve-twelve-byte1");
    }

    #[test]
    fn hash_is_the_published_one() {
        // The test vector of the paper: key 00..0f, message 00..0e.
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f, &[&message]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn a_hardware_address_is_one_cards_and_nobody_elses() {
        let name = MachineName::new("web").unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for end in [End::Host, End::Inside, End::ExtraHost, End::ExtraInside, End::Macvlan] {
            for number in 0..3 {
                let address = hardware_address([7; 16], &name, end, number);
                assert_eq!(address[0] & 3, 2, "{end:?}");
                assert!(seen.insert(address), "{end:?} {number}");
            }
        }
    }
}
