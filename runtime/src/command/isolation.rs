//! Namespaces, ids, capabilities, system calls.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use skep_sys::abi::{Namespaces, SecureBits};

use super::Command;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::role;
use crate::spec::{
    Architecture, CapabilityList, Denial, Family, FileAccess, Landlock, LinkAddress, LinkHardware, LinkName, LinkPair,
    Namespace, NamespaceChoice, Network, Origin, PathRule, Port, SecureBitList, Socket, TimeOffsets, User,
    UserNamespace, Want,
};

/// # Isolation
impl Command {
    /// Chooses the user namespace, and so whose ids the payload has outside.
    /// [`UserNamespace::Auto`] otherwise: your own id for an ordinary user, a free
    /// range for root.
    pub fn user_namespace(&mut self, choice: UserNamespace) -> &mut Self {
        self.set("user_namespace", "Command::user_namespace").user_namespace = choice;
        self
    }

    /// Chooses the network; a namespace of its own with `lo` alone otherwise.
    /// **Careful:** with [`Network::Host`] the payload reaches every service of the
    /// host, those on `127.0.0.1` and on abstract sockets too. The report says so.
    pub fn network(&mut self, network: Network) -> &mut Self {
        self.set("network", "Command::network").network = network;
        self
    }

    /// Gives the container a pair of interfaces: `host0` inside, `ve-NAME` outside. Root
    /// only, as everything of [`Links`](crate::spec::Links).
    pub fn veth(&mut self) -> &mut Self {
        self.set("links.veth", "Command::veth").links.veth = true;
        self
    }

    /// The pair, with its outer end below a bridge of the host.
    pub fn bridge(&mut self, bridge: LinkName) -> &mut Self {
        self.set("links.bridge", "Command::bridge").links.bridge = Some(bridge);
        self
    }

    /// The pair, with its outer end below the bridge of a zone, which is there while a
    /// container is in the zone.
    pub fn zone(&mut self, zone: LinkName) -> &mut Self {
        self.set("links.zone", "Command::zone").links.zone = Some(zone);
        self
    }

    /// Lends the container an interface of the host, until it ends.
    pub fn interface(&mut self, interface: LinkPair) -> &mut Self {
        self.set("links.moved", "Command::interface").links.moved.push(interface);
        self
    }

    /// Gives both ends of the pair an address, and the container a default route, before
    /// its command runs: no network daemon is needed.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut command = skep::Command::new("httpd");
    /// command.veth().link_address("10.9.0.2/30".parse()?).publish("127.0.0.1:8080:80".parse()?);
    /// let container = command.spawn()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn link_address(&mut self, address: LinkAddress) -> &mut Self {
        self.set("links.addresses", "Command::link_address").links.addresses.push(address);
        self
    }

    /// Chooses the hardware addresses of the pair.
    pub fn link_hardware(&mut self, addresses: LinkHardware) -> &mut Self {
        self.set("links.hardware", "Command::link_hardware").links.hardware = Some(addresses);
        self
    }

    /// Lets a port of the host lead into the container, while it runs.
    pub fn publish(&mut self, port: Port) -> &mut Self {
        self.set("links.ports", "Command::publish").links.ports.push(port);
        self
    }

    /// Chooses the namespaces that have no method of their own.
    pub fn namespaces(&mut self, choice: NamespaceChoice) -> &mut Self {
        self.set("namespaces", "Command::namespaces").namespaces = choice;
        self
    }

    /// Enters a namespace that this program holds: a network, ipc, uts, cgroup,
    /// pid or time namespace, as [`Namespace::Path`] says. The kernel is asked
    /// what the descriptor is before it is used. A later call for the same kind
    /// wins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] for a kind that cannot be joined.
    pub fn join(&mut self, kind: Namespaces, namespace: OwnedFd) -> Result<&mut Self> {
        let choice = &mut self.spec.namespaces;
        let (place, field) = match kind {
            Namespaces::NETWORK => (0, "network"),
            Namespaces::IPC => (1, "namespaces.ipc"),
            Namespaces::UTS => (2, "namespaces.uts"),
            Namespaces::CGROUP => (3, "namespaces.cgroup"),
            Namespaces::PID => (4, "namespaces.pid"),
            Namespaces::TIME => (5, "namespaces.time"),
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidSpec,
                    format!("a namespace of kind {other} cannot be joined"),
                )
                .remedy("One kind, and not user or mount, whose namespaces are always the container's own."));
            }
        };
        match place {
            0 => self.spec.network = Network::Given,
            1 => choice.ipc = Namespace::Given,
            2 => choice.uts = Namespace::Given,
            3 => choice.cgroup = Namespace::Given,
            4 => choice.pid = Namespace::Given,
            _ => choice.time = Namespace::Given,
        }
        self.spec.origins.note(field, Origin::Call("Command::join"));
        self.joins.retain(|(slot, _)| *slot != role::JOINS[place]);
        self.joins.push((role::JOINS[place], namespace));
        Ok(self)
    }

    /// Makes a time namespace whose clocks are ahead by these seconds.
    pub fn time_offsets(&mut self, offsets: TimeOffsets) -> &mut Self {
        let choice = &mut self.set("namespaces.time_offsets", "Command::time_offsets").namespaces;
        (choice.time, choice.time_offsets) = (Namespace::New, offsets);
        self
    }

    /// Who the payload is, inside; root otherwise. The ids must be mapped by the
    /// user namespace.
    pub fn user(&mut self, user: User) -> &mut Self {
        self.set("user", "Command::user").user = user;
        self
    }

    /// Adds supplementary groups, by ids inside; none otherwise. They must be
    /// mapped, and an ordinary user with one id has no say in them
    /// (`user_namespaces(7)`).
    pub fn groups(&mut self, groups: impl IntoIterator<Item = u32>) -> &mut Self {
        self.set("groups", "Command::groups").groups.extend(groups);
        self
    }

    /// What the bounding set keeps: all that any process of the container can
    /// ever hold, and what a payload that is root holds. None otherwise.
    ///
    /// They count for what the user namespace owns, not for the host; without
    /// one ([`UserNamespace::Host`]) they are the host's. With `CAP_SYS_ADMIN`
    /// the payload can lift masks; the report says so.
    pub fn capabilities(&mut self, bounding: CapabilityList) -> &mut Self {
        self.set("capabilities.bounding", "Command::capabilities").capabilities.bounding = bounding;
        self
    }

    /// What a payload that is not root holds and passes on (`capabilities(7)`,
    /// "ambient"). Part of [`Command::capabilities`], or the start fails.
    pub fn ambient(&mut self, ambient: CapabilityList) -> &mut Self {
        self.set("capabilities.ambient", "Command::ambient").capabilities.ambient = ambient;
        self
    }

    /// Lets an exec raise privileges again (`PR_SET_NO_NEW_PRIVS`). Every mount
    /// of a plan is `nosuid` all the same, so set-id bits and file capabilities
    /// stay without effect; what is left is what root gains by an exec, never
    /// above the bounding set. The report says so.
    pub fn danger_new_privileges(&mut self) -> &mut Self {
        self.set("no_new_privileges", "Command::danger_new_privileges").no_new_privileges = false;
        self
    }

    /// Leaves the system-call filter out: every call of the kernel can be made,
    /// with what rights the payload has. The report says so.
    pub fn danger_no_filter(&mut self) -> &mut Self {
        self.set("seccomp", "Command::danger_no_filter").seccomp = Want::Off;
        self
    }

    /// Allows system calls beside those of the filter, by name or by group such
    /// as `@mount`: see [`SystemCalls::allow`](crate::spec::SystemCalls::allow).
    pub fn allow_system_calls<I: Into<String>>(&mut self, items: impl IntoIterator<Item = I>) -> &mut Self {
        for item in items {
            let item = item.into();
            self.set(format!("system_calls.allow.{item}"), "Command::allow_system_calls")
                .system_calls
                .allow
                .insert(item);
        }
        self
    }

    /// Allows one system call whatever its arguments, also one that has led out
    /// of containers. The report and the audit name it.
    pub fn danger_allow_system_call(&mut self, name: impl Into<String>) -> &mut Self {
        let name = name.into();
        self.set(format!("system_calls.danger_allow.{name}"), "Command::danger_allow_system_call")
            .system_calls
            .danger_allow
            .insert(name);
        self
    }

    /// Refuses system calls, by name or by group, whatever else allows them.
    pub fn deny_system_calls<I: Into<String>>(
        &mut self,
        items: impl IntoIterator<Item = I>,
        answer: Denial,
    ) -> &mut Self {
        for item in items {
            let item = item.into();
            self.set(format!("system_calls.deny.{item}"), "Command::deny_system_calls")
                .system_calls
                .deny
                .insert(item, answer);
        }
        self
    }

    /// Has calls wait for an answer of whoever holds [`Container::listener`](crate::Container::listener), by
    /// name or by group: see
    /// [`SystemCalls::notify`](crate::spec::SystemCalls::notify).
    pub fn notify_system_calls<I: Into<String>>(&mut self, items: impl IntoIterator<Item = I>) -> &mut Self {
        for item in items {
            let item = item.into();
            self.set(format!("system_calls.notify.{item}"), "Command::notify_system_calls")
                .system_calls
                .notify
                .insert(item);
        }
        self
    }

    /// Sets what Landlock keeps from the payload. Without a call only the abstract
    /// sockets of the host are kept, where its network is shared; see
    /// [`Landlock`].
    pub fn landlock(&mut self, rules: Landlock) -> &mut Self {
        self.set("landlock", "Command::landlock").landlock = rules;
        self
    }

    /// Requires that Landlock restricts files, and allows this at a path inside
    /// and below. What no rule allows is refused with `EACCES`; a program needs
    /// [`FileAccess::Execute`] and [`FileAccess::Read`], its libraries the second.
    pub fn landlock_path(
        &mut self,
        path: impl Into<PathBuf>,
        access: impl IntoIterator<Item = FileAccess>,
    ) -> &mut Self {
        let rule = PathRule::new(path, access);
        let rules = &mut self.set(format!("landlock.paths.{}", rule.path.display()), "Command::landlock_path").landlock;
        rules.paths.push(rule);
        if rules.files == Want::Off {
            rules.files = Want::Require;
        }
        self
    }

    /// Lets calls of these ABIs through beside the machine's own, which is always
    /// there: see [`SystemCalls::architectures`](crate::spec::SystemCalls::architectures).
    ///
    /// ```
    /// use skep::spec::Architecture;
    ///
    /// # if cfg!(target_arch = "x86_64") {
    /// let plan = skep::Command::new("/opt/tool-i386").system_call_architectures([Architecture::X86]).plan()?;
    /// println!("{:?}", plan.report().of("system-call ABIs"));
    /// # }
    /// # Ok::<(), skep::Error>(())
    /// ```
    pub fn system_call_architectures(&mut self, architectures: impl IntoIterator<Item = Architecture>) -> &mut Self {
        self.set("system_calls.architectures", "Command::system_call_architectures").system_calls.architectures =
            Some(architectures.into_iter().collect());
        self
    }

    /// Leaves only these families of sockets; without any, none.
    pub fn socket_families(&mut self, families: impl IntoIterator<Item = Family>) -> &mut Self {
        let sockets = &mut self.set("system_calls.sockets", "Command::socket_families").system_calls.sockets;
        sockets.only = Some(families.into_iter().collect());
        self
    }

    /// Allows sockets that the profile refuses: of a family, or one protocol.
    pub fn danger_allow_socket(&mut self, socket: impl Into<Socket>) -> &mut Self {
        let sockets = &mut self.set("system_calls.sockets", "Command::danger_allow_socket").system_calls.sockets;
        sockets.danger_allow.insert(socket.into());
        self
    }

    /// Sets whether memory can never be both written and executed
    /// (`PR_SET_MDWE`, Linux 6.3); off otherwise, for programs that make code as
    /// they run need it.
    pub fn memory_deny_write_execute(&mut self, want: Want) -> &mut Self {
        self.set("memory_deny_write_execute", "Command::memory_deny_write_execute").memory_deny_write_execute = want;
        self
    }

    /// Sets the securebits that the payload has after its exec
    /// (`capabilities(7)`). Otherwise all are locked where no capability is granted,
    /// and none is set where one is. What contradicts the capabilities, such as
    /// fewer of them where none is granted, fails the start.
    pub fn securebits(&mut self, bits: SecureBits) -> &mut Self {
        self.set("securebits", "Command::securebits").securebits = Some(SecureBitList(bits));
        self
    }

    /// Sets how much a session keyring of the container's own is wanted; if
    /// supported otherwise. Without one, the caller's keys are in reach of the
    /// payload.
    pub fn keyring(&mut self, want: Want) -> &mut Self {
        self.set("keyring", "Command::keyring").keyring = want;
        self
    }
}
