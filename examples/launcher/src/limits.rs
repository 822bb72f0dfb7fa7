//! Limits of a cgroup as they are typed: flags of their own, and the names of
//! `systemd.resource-control(5)` for `--property=`.

use std::ffi::OsStr;

use skep::dialect::nspawn::value::{self, ValueError};
use skep::spec::{CpuLimit, IoLimit, NumberList, Resources, parse_bytes};

use crate::flags::put as keep;
use crate::nearest;
use crate::values::{Parsed, bad, bytes, text};

/// Limits as typed, and which fields of them were, by which option.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    resources: Resources,
    fields: Vec<(&'static str, &'static str)>,
}

impl Typed {
    /// Notes one field, with the option that set it.
    pub(crate) fn put(
        &mut self,
        field: &'static str,
        option: &'static str,
        set: impl FnOnce(&mut Resources) -> Parsed<()>,
    ) -> Parsed<()> {
        set(&mut self.resources)?;
        self.fields.push((field, option));
        Ok(())
    }

    /// Moves what was typed into a Spec's limits, and tells which.
    pub(crate) fn apply(self, to: &mut Resources, mut note: impl FnMut(&'static str, &'static str)) {
        let from = self.resources;
        for (field, option) in self.fields {
            match field {
                "memory" => to.memory = from.memory,
                "memory_high" => to.memory_high = from.memory_high,
                "memory_low" => to.memory_low = from.memory_low,
                "memory_min" => to.memory_min = from.memory_min,
                "swap" => to.swap = from.swap,
                "oom_group" => to.oom_group = from.oom_group,
                "cpu" => to.cpu = from.cpu,
                "cpu_weight" => to.cpu_weight = from.cpu_weight,
                "cpuset_cpus" => to.cpuset_cpus.clone_from(&from.cpuset_cpus),
                "cpuset_mems" => to.cpuset_mems.clone_from(&from.cpuset_mems),
                "io_weight" => to.io_weight = from.io_weight,
                "pids" => to.pids = from.pids,
                "delegate" => to.delegate = from.delegate,
                // What a file says of another device stays.
                _ => {
                    for limit in &from.io {
                        to.io.retain(|earlier| earlier.device != limit.device);
                        to.io.push(limit.clone());
                    }
                }
            }
            note(field, option);
        }
    }
}

/// A weight: 1 to 10000.
pub(crate) fn weight(word: &str) -> Parsed<u64> {
    match number(word).filter(|weight| (1..=10_000).contains(weight)) {
        Some(weight) => Ok(weight),
        None => bad(OsStr::new(word), "is not a weight", "write a number from 1 to 10000; 100 is the usual one"),
    }
}

fn number(word: &str) -> Option<u64> {
    let plain = !word.is_empty() && word.len() <= 20 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| plain)
}

/// Numbers of processors or memory nodes.
pub(crate) fn list(word: &str) -> Parsed<NumberList> {
    NumberList::parse(word)
        .map_err(|message| ValueError::new(message).with_remedy("write numbers and ranges such as 0-3,7"))
}

/// `DEVICE:KEY=NUMBER[,…]`: the keys of the kernel's `io.max`.
pub(crate) fn io_max(word: &OsStr, resources: &mut Resources) -> Parsed<()> {
    const REMEDY: &str =
        "write DEVICE:KEY=NUMBER[,KEY=NUMBER], such as /dev/vda:rbps=10M,wiops=500; keys: rbps, wbps, riops, wiops";
    let text = text(word, |text| Ok(text.to_owned()))?;
    let wrong = |what| bad(word, what, REMEDY);
    let Some((device, limits)) = text.rsplit_once(':').filter(|(device, _)| device.starts_with('/')) else {
        return wrong("names no device by its path");
    };
    for part in limits.split(',') {
        let Some((key, value)) = part.split_once('=') else { return wrong("has a limit without `=`") };
        let Some(value) = parse_bytes(value).ok().filter(|value| *value > 0) else {
            return wrong("has a limit that is no number from 1 on");
        };
        let limit = of_device(device, resources);
        match key {
            "rbps" => limit.read_bytes = Some(value),
            "wbps" => limit.write_bytes = Some(value),
            "riops" => limit.read_operations = Some(value),
            "wiops" => limit.write_operations = Some(value),
            _ => return wrong("has an unknown key"),
        }
    }
    Ok(())
}

fn of_device<'a>(device: &str, resources: &'a mut Resources) -> &'a mut IoLimit {
    let place = resources.io.iter().position(|limit| limit.device.as_os_str() == device);
    let place = place.unwrap_or_else(|| {
        resources.io.push(IoLimit::new(device));
        resources.io.len() - 1
    });
    &mut resources.io[place]
}

/// The properties of systemd that mean a limit here.
const PROPERTIES: [&str; 17] = [
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "CPUQuota",
    "CPUWeight",
    "Delegate",
    "IOReadBandwidthMax",
    "IOReadIOPSMax",
    "IOWeight",
    "IOWriteBandwidthMax",
    "IOWriteIOPSMax",
    "MemoryHigh",
    "MemoryLow",
    "MemoryMax",
    "MemoryMin",
    "MemorySwapMax",
    "OOMPolicy",
    "TasksMax",
];

/// Whether a property is one of a unit, and neither a limit nor one mistyped.
pub(crate) fn of_unit(word: &OsStr) -> bool {
    let name = word.to_str().and_then(|word| word.split_once('=')).map_or("", |(name, _)| name);
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && nearest::nearest(name, PROPERTIES.into_iter()).is_empty()
}

/// `NAME=VALUE`, as `systemd-nspawn --property=` takes it.
pub(crate) fn property(word: &OsStr, typed: &mut Typed) -> Parsed<()> {
    let text = text(word, |text| Ok(text.to_owned()))?;
    let Some((name, value)) = text.split_once('=') else {
        return bad(word, "has no `=`", "write NAME=VALUE, such as MemoryMax=1G");
    };
    let mut put = |field, set: &mut dyn FnMut(&mut Resources) -> Parsed<()>| typed.put(field, "--property=", set);
    match name {
        "MemoryMax" => put("memory", &mut |all| keep(&mut all.memory, bytes(value))),
        "MemoryHigh" => put("memory_high", &mut |all| keep(&mut all.memory_high, bytes(value))),
        "MemoryLow" => put("memory_low", &mut |all| keep(&mut all.memory_low, bytes(value))),
        "MemoryMin" => put("memory_min", &mut |all| keep(&mut all.memory_min, bytes(value))),
        "MemorySwapMax" => put("swap", &mut |all| keep(&mut all.swap, bytes(value))),
        "OOMPolicy" => put("oom_group", &mut |all| {
            all.oom_group = Some(match value {
                "kill" => true,
                "continue" => false,
                _ => {
                    return bad(
                        word,
                        "is not a policy that is honoured here",
                        "write OOMPolicy=kill or OOMPolicy=continue",
                    );
                }
            });
            Ok(())
        }),
        "CPUQuota" => put("cpu", &mut |all| keep(&mut all.cpu, quota(word, value))),
        "CPUWeight" => put("cpu_weight", &mut |all| keep(&mut all.cpu_weight, weight(value))),
        "AllowedCPUs" => put("cpuset_cpus", &mut |all| keep(&mut all.cpuset_cpus, list(&value.replace(' ', ",")))),
        "AllowedMemoryNodes" => {
            put("cpuset_mems", &mut |all| keep(&mut all.cpuset_mems, list(&value.replace(' ', ","))))
        }
        "TasksMax" => {
            put("pids", &mut |all| keep(&mut all.pids, crate::values::number_of(OsStr::new(value), "processes")))
        }
        "IOWeight" => put("io_weight", &mut |all| keep(&mut all.io_weight, weight(value))),
        "IOReadBandwidthMax" | "IOWriteBandwidthMax" | "IOReadIOPSMax" | "IOWriteIOPSMax" => put("io", &mut |all| {
            let remedy = "write a device and a number, such as IOReadBandwidthMax=/dev/vda 10M";
            let Some((device, limit)) = value.split_once(' ').filter(|(device, _)| device.starts_with('/')) else {
                return bad(word, "names no device by its path", remedy);
            };
            let Some(limit) = thousands(limit) else { return bad(word, "has no number from 1 on", remedy) };
            let place = of_device(device, all);
            match name {
                "IOReadBandwidthMax" => place.read_bytes = Some(limit),
                "IOWriteBandwidthMax" => place.write_bytes = Some(limit),
                "IOReadIOPSMax" => place.read_operations = Some(limit),
                _ => place.write_operations = Some(limit),
            }
            Ok(())
        }),
        "Delegate" => put("delegate", &mut |all| value::boolean(value).map(|on| all.delegate = on)),
        _ => {
            let near = nearest::nearest(name, PROPERTIES.into_iter());
            let remedy = match near.first() {
                Some(near) => format!("did you mean {near}?"),
                None => format!("honoured are {}", PROPERTIES.join(", ")),
            };
            Err(ValueError::new(format!("the property \"{}\" is not honoured here", skep::Escaped::new(name).short()))
                .with_remedy(remedy))
        }
    }
}

/// Bandwidths and operations: suffixes are powers of 1000 there.
fn thousands(word: &str) -> Option<u64> {
    let digits = word.trim_end_matches(['K', 'M', 'G', 'T']);
    let power = match &word[digits.len()..] {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    number(digits)?.checked_mul(1000_u64.pow(power)).filter(|value| (1..u64::MAX / 2).contains(value))
}

/// `150%`: of one processor, in each 100 ms.
fn quota(word: &OsStr, value: &str) -> Parsed<CpuLimit> {
    let percent = value.strip_suffix('%').and_then(number).filter(|percent| (1..=819_200).contains(percent));
    match percent {
        Some(percent) => Ok(CpuLimit { quota: percent * 1000, period: 100_000 }),
        None => bad(word, "is not a share of a processor", "write a whole number of per cent, such as CPUQuota=150%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> Result<Resources, String> {
        let mut typed = Typed::default();
        for word in words {
            property(OsStr::new(word), &mut typed).map_err(|error| error.to_string())?;
        }
        let mut resources = Resources::default();
        typed.apply(&mut resources, |_, _| {});
        Ok(resources)
    }

    #[test]
    fn properties_are_limits() {
        let words = [
            "MemoryMax=1G",
            "CPUQuota=150%",
            "AllowedCPUs=0 2-3",
            "TasksMax=7",
            "IOReadBandwidthMax=/dev/vda 10M",
            "IOWriteIOPSMax=/dev/vda 5",
            "OOMPolicy=continue",
            "Delegate=yes",
        ];
        let all = typed(&words).expect("reads");
        assert_eq!((all.memory, all.pids, all.oom_group, all.delegate), (Some(1 << 30), Some(7), Some(false), true));
        assert_eq!(all.cpu, Some(CpuLimit { quota: 150_000, period: 100_000 }));
        assert_eq!(all.cpuset_cpus.map(String::from).as_deref(), Some("0,2-3"));
        let [device] = &all.io[..] else { panic!("one device: {:?}", all.io) };
        assert_eq!((device.read_bytes, device.write_operations), (Some(10_000_000), Some(5)));
    }

    #[test]
    fn others_are_refused_by_name() {
        for (word, says) in [
            ("MemoryMux=1G", "MemoryMax"),
            ("ExecStart=/bin/sh", "not honoured here"),
            ("MemoryMax", "`=`"),
            ("CPUQuota=1.5", "150%"),
            ("IOReadBandwidthMax=10M", "/dev/vda"),
            ("OOMPolicy=stop", "continue"),
        ] {
            let error = typed(&[word]).expect_err(word);
            assert!(error.contains(says), "{word}: {error}");
        }
    }

    #[test]
    fn devices_with_several_limits() {
        let mut all = Resources::default();
        io_max(OsStr::new("/dev/vda:rbps=10M,wiops=500"), &mut all).expect("reads");
        assert_eq!((all.io[0].read_bytes, all.io[0].write_operations), (Some(10 << 20), Some(500)));
        for wrong in ["", "vda:rbps=1", "/dev/vda", "/dev/vda:", "/dev/vda:rbps", "/dev/vda:rbps=0", "/dev/vda:x=1"] {
            assert!(io_max(OsStr::new(wrong), &mut all).is_err(), "{wrong:?}");
        }
    }
}
