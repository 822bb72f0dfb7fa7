//! What a limit is in the files of cgroup v2 and of v1. Nothing is rounded
//! without a word: where the two count differently, the report says what was
//! written.
//!
//! Sources: kernel `admin-guide/cgroup-v2.rst`; `admin-guide/cgroup-v1`,
//! `memory.rst`, `cpusets.rst`, `blkio-controller.rst`;
//! `scheduler/sched-bwc.rst`, `sched-design-CFS.rst`.

use std::path::Path;

use crate::error::{Error, ErrorKind};
use crate::facts::{Cgroups, DeviceNumber};
use crate::spec::{CpuLimit, IoLimit, NumberList, Resources};

/// Files and what to write into them, in order.
pub(crate) type Files = Vec<(&'static str, String)>;

/// How one version of cgroups says a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) files: Files,
    /// As the report shows it.
    pub(crate) shown: String,
}

/// A limit that somebody wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) controller: &'static str,
    /// The field of [`Resources`].
    pub(crate) field: &'static str,
    pub(crate) item: String,
    /// What each version writes, or why it cannot say this.
    pub(crate) unified: Result<Said, &'static str>,
    pub(crate) legacy: Result<Said, &'static str>,
}

/// Why a value is refused, and of which field.
pub(crate) struct Bad {
    pub(crate) field: &'static str,
    why: String,
    remedy: &'static str,
    /// The value is good, but not on this host.
    host: bool,
}

impl Bad {
    pub(crate) fn error(self) -> Error {
        let kind = if self.host { ErrorKind::Unsupported } else { ErrorKind::InvalidSpec };
        Error::new(kind, self.why).remedy(self.remedy)
    }
}

fn bad<T>(field: &'static str, why: impl Into<String>, remedy: &'static str) -> Result<T, Bad> {
    Err(Bad { field, why: why.into(), remedy, host: false })
}

/// What of the host counts.
pub(crate) struct Host<'a> {
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) device: &'a dyn Fn(&Path) -> Option<DeviceNumber>,
    /// Of a container that runs: what is not said stays as it is.
    pub(crate) running: Option<Running>,
}

/// The limits of a running container on memory and swap, on v1.
#[derive(Clone, Copy, Default)]
pub(crate) struct Running {
    pub(crate) memory: Option<u64>,
    pub(crate) swap: Option<u64>,
}

const V2: &str = "cgroup v1 has no such limit";

/// The same on both.
fn same(controller: &'static str, field: &'static str, shown: String, files: Files) -> Wanted {
    let said = Said { files, shown };
    let item = format!("limit {}", field.replace('_', " "));
    Wanted { controller, field, item, unified: Ok(said.clone()), legacy: Ok(said) }
}

/// Every limit of `resources`, in the order in which they are written.
pub(crate) fn wanted(resources: &Resources, host: &Host<'_>) -> Result<Vec<Wanted>, Bad> {
    let mut list = Vec::new();
    memory(resources, host, &mut list)?;
    processor(resources, &mut list)?;
    sets(resources, host.cgroups, &mut list)?;
    io(resources, host, &mut list)?;
    if let Some(pids) = resources.pids {
        if pids == 0 {
            return bad(
                "pids",
                "a limit of 0 processes holds no process",
                "The command is one, the stub init another.",
            );
        }
        list.push(self::pids(pids));
    }
    Ok(list)
}

pub(crate) fn pids(pids: u64) -> Wanted {
    same("pids", "pids", pids.to_string(), vec![("pids.max", pids.to_string())])
}

fn bytes(bytes: u64) -> String {
    // The kernel counts pages (page_counter_memparse).
    let rounded = if bytes.is_multiple_of(4096) { "" } else { ", rounded down to whole pages by the kernel" };
    format!("{bytes} bytes{rounded}")
}

fn memory(resources: &Resources, host: &Host<'_>, list: &mut Vec<Wanted>) -> Result<(), Bad> {
    let (swap, running, accounted) = (resources.swap, host.running, host.cgroups.legacy_swap);
    // v1: memory and swap in one number.
    let both = |memory: u64, swap: u64| match memory.checked_add(swap).filter(|both| *both <= i64::MAX as u64) {
        Some(both) => Ok(("memory.memsw.limit_in_bytes", both.to_string())),
        None => bad("swap", "memory and swap together are more than a number can be", "Give less of either."),
    };
    if let Some(limit) = resources.memory {
        if limit < 64 << 10 {
            return bad(
                "memory",
                format!("a memory limit of {limit} bytes holds no process"),
                "The least is 65536 bytes; some MiB are of use.",
            );
        }
        let mut files = vec![("memory.max", limit.to_string())];
        if swap.is_none() && running.is_none() {
            files.push(("memory.swap.max", "0".into()));
        }
        if resources.oom_group.is_none() && running.is_none() {
            files.push(("memory.oom.group", "1".into()));
        }
        let mut legacy = vec![("memory.limit_in_bytes", limit.to_string())];
        let allowed = match running {
            None => Some(swap.unwrap_or(0)),
            Some(running) => swap.or(running.swap),
        };
        if let (true, Some(allowed)) = (accounted, allowed) {
            // Memory first: it may not be above both together.
            legacy.push(both(limit, allowed)?);
        }
        let note = if accounted { "" } else { ", swap not limited" };
        let legacy = Said { files: legacy, shown: format!("{}{note}", bytes(limit)) };
        list.push(Wanted { legacy: Ok(legacy), ..same("memory", "memory", bytes(limit), files) });
    }
    for (field, file, value, legacy) in [
        ("memory_high", "memory.high", resources.memory_high, None),
        ("memory_low", "memory.low", resources.memory_low, Some("memory.soft_limit_in_bytes")),
        ("memory_min", "memory.min", resources.memory_min, None),
    ] {
        let Some(value) = value else { continue };
        if resources.memory.is_some_and(|limit| value > limit) {
            let why = format!("{} of {value} bytes is above the memory limit", field.replace('_', " "));
            return bad(field, why, "Give less, or raise the limit.");
        }
        let legacy = legacy.ok_or(V2).map(|file| Said {
            files: vec![(file, value.to_string())],
            shown: format!("{}, as a soft limit", bytes(value)),
        });
        list.push(Wanted { legacy, ..same("memory", field, bytes(value), vec![(file, value.to_string())]) });
    }
    if let Some(swap) = swap {
        let shown = format!("{}, counted with the memory", bytes(swap));
        let legacy = match (resources.memory, running.and_then(|running| running.memory)) {
            _ if !accounted => Err("the kernel does not account for swap: boot it with swapaccount=1"),
            // Written with the memory.
            (Some(_), _) => Ok(Said { files: Vec::new(), shown }),
            (None, Some(memory)) => Ok(Said { files: vec![both(memory, swap)?], shown }),
            (None, None) => {
                Err("cgroup v1 counts memory and swap together, so that swap needs a limit on memory as well")
            }
        };
        let files = vec![("memory.swap.max", swap.to_string())];
        list.push(Wanted { legacy, ..same("memory", "swap", bytes(swap), files) });
    }
    if let Some(on) = resources.oom_group {
        let shown = if on { "the whole container" } else { "one process" };
        let legacy = if on { Err(V2) } else { Ok(Said { files: Vec::new(), shown: shown.into() }) };
        let files = vec![("memory.oom.group", u8::from(on).to_string())];
        list.push(Wanted { legacy, ..same("memory", "oom_group", shown.into(), files) });
    }
    Ok(())
}

fn processor(resources: &Resources, list: &mut Vec<Wanted>) -> Result<(), Bad> {
    if let Some(CpuLimit { quota, period }) = resources.cpu {
        if quota < 1000 || !(1000..=1_000_000).contains(&period) {
            let why = format!("a processor quota of {quota} in {period} microseconds");
            return bad("cpu", why, "The quota is at least 1000 microseconds, the period 1000 to 1000000.");
        }
        let shown = format!("{quota} of {period} microseconds");
        let files = vec![("cpu.cfs_period_us", period.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
        let legacy = Ok(Said { files, shown: shown.clone() });
        list.push(Wanted { legacy, ..same("cpu", "cpu", shown, vec![("cpu.max", format!("{quota} {period}"))]) });
    }
    if let Some(weight) = resources.cpu_weight {
        weighted("cpu_weight", weight)?;
        // The default of v1 is 1024, that of v2 is 100.
        let shares = (weight * 1024 / 100).max(2);
        let legacy =
            Said { files: vec![("cpu.shares", shares.to_string())], shown: format!("{weight}, as {shares} shares") };
        let files = vec![("cpu.weight", weight.to_string())];
        list.push(Wanted { legacy: Ok(legacy), ..same("cpu", "cpu_weight", weight.to_string(), files) });
    }
    Ok(())
}

fn weighted(field: &'static str, weight: u64) -> Result<(), Bad> {
    if (1..=10_000).contains(&weight) {
        Ok(())
    } else {
        bad(field, format!("a weight of {weight}"), "A weight is 1 to 10000; 100 is the usual one.")
    }
}

fn sets(resources: &Resources, cgroups: &Cgroups, list: &mut Vec<Wanted>) -> Result<(), Bad> {
    let all = cgroups.cpuset.as_ref();
    let here = [
        ("cpuset_cpus", "cpuset.cpus", resources.cpuset_cpus.as_ref(), all.map(|all| &all[0]), "processor"),
        ("cpuset_mems", "cpuset.mems", resources.cpuset_mems.as_ref(), all.map(|all| &all[1]), "memory node"),
    ];
    for (field, _, wanted, all, what) in here {
        // v2 would take it and use what there is, in silence.
        if let (Some(wanted), Some(all)) = (wanted, all)
            && let Some(number) = wanted.beyond(all)
        {
            let why = format!("{what} {number} is none of {all}, which this caller may use");
            return Err(Bad { field, why, remedy: "Name some of those.", host: true });
        }
    }
    let set = |file, list: &NumberList| (file, list.to_string());
    let mut first = true;
    for (field, file, wanted, _, _) in here {
        let Some(wanted) = wanted else { continue };
        let mut files = vec![set(file, wanted)];
        // A v1 group begins with neither, and holds no process then.
        let other = here.iter().find(|row| row.1 != file);
        if let (true, Some((_, other, None, Some(all), _))) = (first, other) {
            files.push(set(other, all));
        }
        first = false;
        let shown = wanted.to_string();
        let legacy = Ok(Said { files, shown: shown.clone() });
        list.push(Wanted { legacy, ..same("cpuset", field, shown, vec![set(file, wanted)]) });
    }
    Ok(())
}

fn io(resources: &Resources, host: &Host<'_>, list: &mut Vec<Wanted>) -> Result<(), Bad> {
    for (at, limit) in resources.io.iter().enumerate() {
        let shown = crate::Escaped::new(&limit.device).short();
        if resources.io.iter().take(at).any(|other| other.device == limit.device) {
            return bad("io", format!("two limits on {shown}"), "Say all about one device in one place.");
        }
        let Some(device) = (host.device)(&limit.device).filter(|device| device.block) else {
            let remedy = "Name the node of a whole disk, such as /dev/vda.";
            return Err(Bad { field: "io", why: format!("{shown} is no block device"), remedy, host: true });
        };
        list.push(io_of(limit, device)?);
    }
    if let Some(weight) = resources.io_weight {
        weighted("io_weight", weight)?;
        let legacy = if weight <= 1000 {
            let files = vec![("blkio.bfq.weight", weight.to_string())];
            Ok(Said { files, shown: format!("{weight}, of the BFQ scheduler") })
        } else {
            Err("cgroup v1 has weights up to 1000 only")
        };
        let files = vec![("io.weight", format!("default {weight}"))];
        list.push(Wanted { legacy, ..same("io", "io_weight", weight.to_string(), files) });
    }
    Ok(())
}

fn io_of(limit: &IoLimit, DeviceNumber { major, minor, .. }: DeviceNumber) -> Result<Wanted, Bad> {
    let (mut words, mut legacy, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for (value, key, file, what) in [
        (limit.read_bytes, "rbps", "blkio.throttle.read_bps_device", "bytes read"),
        (limit.write_bytes, "wbps", "blkio.throttle.write_bps_device", "bytes written"),
        (limit.read_operations, "riops", "blkio.throttle.read_iops_device", "reads"),
        (limit.write_operations, "wiops", "blkio.throttle.write_iops_device", "writes"),
    ] {
        let Some(value) = value else { continue };
        // On v1 0 means no limit; operations are counted in 32 bits.
        let most = if key.ends_with("iops") { u64::from(u32::MAX) - 1 } else { i64::MAX as u64 };
        if !(1..=most).contains(&value) {
            let why = format!("{value} {what} a second on {}: it is 1 to {most}", limit.device.display());
            return bad("io", why, "Leave it out for no limit.");
        }
        words.push(format!("{key}={value}"));
        legacy.push((file, format!("{major}:{minor} {value}")));
        shown.push(format!("{value} {what}"));
    }
    if words.is_empty() {
        let why = format!("{} is named without a limit", limit.device.display());
        return bad("io", why, "Say how much it may read or write.");
    }
    let shown = format!("{} a second", shown.join(", "));
    let files = vec![("io.max", format!("{major}:{minor} {}", words.join(" ")))];
    let legacy = Ok(Said { files: legacy, shown: shown.clone() });
    let item = format!("limit io {}", limit.device.display());
    Ok(Wanted { item, legacy, ..same("io", "io", shown, files) })
}

/// The controller's name on v1.
pub(crate) fn legacy_name(controller: &'static str) -> &'static str {
    if controller == "io" { "blkio" } else { controller }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(change: impl Fn(&mut Resources), cgroups: &Cgroups) -> Result<Vec<Wanted>, String> {
        let mut resources = Resources::default();
        change(&mut resources);
        let device =
            |path: &Path| (path == Path::new("/dev/vda")).then_some(DeviceNumber { block: true, major: 254, minor: 0 });
        wanted(&resources, &Host { cgroups, device: &device, running: None })
            .map_err(|bad| format!("{}: {}", bad.field, bad.why))
    }

    fn lines(said: &Result<Said, &str>) -> String {
        let said = said.as_ref().unwrap();
        said.files.iter().map(|(file, value)| format!("{file} {value}")).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn weights_and_shares() {
        for (weight, shares) in [(1, 10), (100, 1024), (10_000, 102_400)] {
            let list = all(|resources| resources.cpu_weight = Some(weight), &Cgroups::default()).unwrap();
            assert_eq!(lines(&list[0].unified), format!("cpu.weight {weight}"));
            assert_eq!(lines(&list[0].legacy), format!("cpu.shares {shares}"));
            assert!(list[0].legacy.as_ref().unwrap().shown.contains(&shares.to_string()));
        }
        for weight in [0, 10_001, u64::MAX] {
            assert!(all(|resources| resources.cpu_weight = Some(weight), &Cgroups::default()).is_err());
            assert!(all(|resources| resources.io_weight = Some(weight), &Cgroups::default()).is_err());
        }
    }

    #[test]
    fn memory_and_swap_are_counted_apart_or_together() {
        let accounted = Cgroups { legacy_swap: true, ..Cgroups::default() };
        let change = |resources: &mut Resources| (resources.memory, resources.swap) = (Some(1 << 20), Some(1 << 19));
        let list = all(change, &accounted).unwrap();
        assert_eq!(lines(&list[0].unified), "memory.max 1048576; memory.oom.group 1");
        assert_eq!(lines(&list[1].unified), "memory.swap.max 524288");
        assert_eq!(lines(&list[0].legacy), "memory.limit_in_bytes 1048576; memory.memsw.limit_in_bytes 1572864");
        assert!(all(change, &Cgroups::default()).unwrap()[1].legacy.is_err());
        let list = all(|resources| resources.swap = Some(0), &accounted).unwrap();
        assert!(list[0].legacy.is_err());
        let too_much = |resources: &mut Resources| (resources.memory, resources.swap) = (Some(1 << 40), Some(u64::MAX));
        assert!(all(too_much, &accounted).is_err());
    }

    #[test]
    fn rounding_is_said() {
        let list = all(|resources| resources.memory = Some((1 << 20) + 1), &Cgroups::default()).unwrap();
        assert!(list[0].unified.as_ref().unwrap().shown.contains("rounded down"));
    }

    #[test]
    fn sets_are_within_what_there_is() {
        let list = |text: &str| NumberList::parse(text).unwrap();
        let cgroups = Cgroups { cpuset: Some([list("0-1"), list("0")]), ..Cgroups::default() };
        let cpus = |cpus: &'static str| move |resources: &mut Resources| resources.cpuset_cpus = Some(list(cpus));
        assert_eq!(lines(&all(cpus("1"), &cgroups).unwrap()[0].unified), "cpuset.cpus 1");
        // Both, or the group holds no process.
        assert_eq!(lines(&all(cpus("1"), &cgroups).unwrap()[0].legacy), "cpuset.cpus 1; cpuset.mems 0");
        assert_eq!(
            all(cpus("1-2"), &cgroups).unwrap_err(),
            "cpuset_cpus: processor 2 is none of 0-1, which this caller may use"
        );
    }

    #[test]
    fn devices_have_numbers() {
        let vda = |change: fn(&mut IoLimit)| {
            move |resources: &mut Resources| {
                let mut limit = IoLimit::new("/dev/vda");
                change(&mut limit);
                resources.io = vec![limit];
            }
        };
        let both = vda(|limit| (limit.read_bytes, limit.write_operations) = (Some(1 << 20), Some(50)));
        let list = all(both, &Cgroups::default()).unwrap();
        assert_eq!(lines(&list[0].unified), "io.max 254:0 rbps=1048576 wiops=50");
        let legacy = "blkio.throttle.read_bps_device 254:0 1048576; blkio.throttle.write_iops_device 254:0 50";
        assert_eq!(lines(&list[0].legacy), legacy);
        assert!(all(vda(|_| {}), &Cgroups::default()).is_err());
        assert!(all(vda(|limit| limit.read_bytes = Some(0)), &Cgroups::default()).is_err());
        assert!(all(vda(|limit| limit.device = "/dev/null".into()), &Cgroups::default()).is_err());
    }
}
