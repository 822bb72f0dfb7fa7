//! The service manager that started this program, told as `systemd-nspawn` tells it
//! (`sd_notify(3)`).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Whoever listens at `$NOTIFY_SOCKET`, if anybody.
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    /// Whether the payload has said itself how it is.
    described: bool,
    /// How often it wants to hear that this program lives, and when it did.
    watchdog: Option<(Duration, Instant)>,
}

impl Manager {
    /// Nobody.
    pub(crate) const fn none() -> Self {
        Self { socket: None, described: false, watchdog: None }
    }

    /// That of this process.
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let bytes = name.as_bytes();
            let address = match bytes.first()? {
                b'@' => SocketAddr::from_abstract_name(bytes.get(1..)?),
                b'/' => SocketAddr::from_pathname(&name),
                _ => return None,
            };
            let socket = UnixDatagram::unbound().ok()?;
            // One that does not listen is no reason to stop a container, nor to wait.
            socket.set_nonblocking(true).ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            Some(socket)
        });
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let interval = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|text| text.parse().ok());
        let half = interval.filter(|micros: &u64| *micros > 0).map(|micros| Duration::from_micros(micros / 2));
        Self {
            described: false,
            watchdog: half.filter(|_| socket.is_some()).map(|half| (half, Instant::now())),
            socket,
        }
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(text.as_bytes());
        }
    }

    /// The payload runs. `ready`: that is all there is to wait for.
    pub(crate) fn started(&self, leader: u32, ready: bool) {
        self.say(&format!("STATUS=Container running.\nX_NSPAWN_LEADER_PID={leader}"));
        if ready {
            self.say("READY=1");
        }
    }

    /// The payload says that it is ready, or how it is.
    pub(crate) fn heard(&mut self, ready: bool, status: Option<&str>) {
        if let Some(status) = status {
            self.described = true;
            self.say(&format!("STATUS=Container running: {status}"));
        }
        if ready {
            self.say("READY=1");
            if !self.described {
                self.say("STATUS=Container running.");
            }
        }
    }

    /// The container is asked to stop.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// It has ended.
    pub(crate) fn ended(&self, restarts: bool) {
        let what = if restarts { "Restarting" } else { "Terminating" };
        self.say(&format!("STOPPING=1\nSTATUS={what}..."));
    }

    /// Says that this program lives, where that is due; how long until it is again.
    pub(crate) fn watchdog(&mut self) -> Option<Duration> {
        let (every, last) = self.watchdog?;
        if last.elapsed() < every {
            return Some(every - last.elapsed());
        }
        self.say("WATCHDOG=1");
        self.watchdog = Some((every, Instant::now()));
        Some(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_which_order() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("set");
        let heard = || {
            let mut bytes = [0; 200];
            theirs.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        let mut manager = Manager { socket: Some(ours), described: false, watchdog: None };
        manager.started(7, false);
        assert_eq!(heard().as_deref(), Some("STATUS=Container running.\nX_NSPAWN_LEADER_PID=7"));
        assert_eq!(heard(), None);
        manager.heard(true, None);
        assert_eq!([heard(), heard()].map(Option::unwrap_or_default), ["READY=1", "STATUS=Container running."]);
        manager.heard(false, Some("Ready."));
        manager.ended(true);
        assert_eq!(heard().as_deref(), Some("STATUS=Container running: Ready."));
        assert_eq!(heard().as_deref(), Some("STOPPING=1\nSTATUS=Restarting..."));
        assert_eq!(manager.watchdog(), None);
        manager.watchdog = Some((Duration::ZERO, Instant::now()));
        assert!(manager.watchdog().is_some() && heard().as_deref() == Some("WATCHDOG=1"));
    }
}
