use super::super::stand::{CHILD_END, HOST_END, PIDFD, Stand};
use super::*;
use crate::abi::{Namespaces, OpenFlags, Resolve};
use crate::op::{At, Op};
use crate::program::Actor;

const ONE: Slot = Slot(10);
const TWO: Slot = Slot(11);

fn open(path: &core::ffi::CStr, flags: OpenFlags, into: Slot) -> Op<'_> {
    Op::OpenAt2 { dir: At::Cwd, path, flags, mode: 0, resolve: Resolve::NONE, into }
}

fn numbers(stand: &Stand, actor: Actor) -> Vec<i32> {
    stand.model.process(actor).unwrap().descriptors().iter().map(|file| file.number).collect()
}

#[test]
fn numbers_are_the_lowest_free_and_a_slot_lets_go_of_what_it_held() {
    let mut stand = Stand::root();
    stand.ok(open(c"/etc", OpenFlags::PATH, ONE));
    assert_eq!(stand.cells[10], Cell::Descriptor(4), "0 to 2, and the leaked 3");
    stand.ok(open(c"/usr", OpenFlags::PATH, ONE));
    assert_eq!(stand.cells[10], Cell::Descriptor(5));
    assert_eq!(numbers(&stand, Actor::Host), [0, 1, 2, 3, 5]);
    stand.ok(Op::Close { file: ONE });
    stand.no(Op::Close { file: ONE }, Errno::EBADF);
    stand.no(Op::Fchdir { dir: ONE }, Errno::EBADF);
    stand.no(open(c"/usr", OpenFlags::PATH, Slot(99)), Errno::EMFILE);
    assert_eq!(numbers(&stand, Actor::Host), [0, 1, 2, 3]);
}

#[test]
fn the_limit_of_descriptors_holds() {
    let mut stand = Stand::root();
    stand.ok(Op::SetLimit { resource: Resource::NOFILE, soft: 5, hard: 5 });
    stand.ok(open(c"/usr", OpenFlags::PATH, ONE));
    stand.no(open(c"/usr", OpenFlags::PATH, TWO), Errno::EMFILE);
    stand.no(Op::Dup { file: ONE, number: 5 }, Errno::EBADF);
}

/// What the embedder leaks is open in the child until it adopts; what is
/// close-on-exec and not kept never gets there.
#[test]
fn leaked_descriptors_stay_until_adopted() {
    let mut stand = Stand::root();
    stand.ok(open(c"/usr", OpenFlags::PATH, ONE));
    stand.ok(open(c"/etc", OpenFlags::PATH, Slot(30)));
    stand.spawn(Namespaces::PID, false, None).unwrap();
    let before = stand.model.process(Actor::Child).unwrap().descriptors();
    assert!(before.iter().any(|file| file.path.as_deref() == Some("/etc/hostname")), "{before:?}");
    assert!(before.iter().any(|file| file.path.as_deref() == Some("/etc")));
    assert!(!before.iter().any(|file| file.path.as_deref() == Some("/usr")));
    stand.play(Actor::Child);
    stand.ok(Op::Adopt {});
    let after = stand.model.process(Actor::Child).unwrap().descriptors();
    let kinds: Vec<_> = after.iter().map(|file| (file.kind, file.close_on_exec)).collect();
    assert_eq!(kinds, [("path", true), ("socketpair", true)]);
    stand.no(Op::Fchdir { dir: ONE }, Errno::EBADF);
    stand.no(Op::PidfdSignal { process: PIDFD, signal: 0 }, Errno::EBADF);
    stand.ok(Op::Fchdir { dir: Slot(30) });
}

#[test]
fn adopting_moves_low_numbers_up_and_dup_brings_them_back() {
    let mut stand = Stand::root();
    stand.cells[10] = Cell::Descriptor(1);
    stand.ok(Op::Adopt {});
    assert_eq!(stand.cells[10], Cell::Descriptor(4));
    stand.ok(Op::Dup { file: ONE, number: 0 });
    assert_eq!(numbers(&stand, Actor::Host), [0, 4]);
    stand.ok(Op::CloseFrom { first: 1 });
    let left = stand.model.process(Actor::Host).unwrap().descriptors();
    assert_eq!((left.len(), left[0].number, left[0].close_on_exec), (1, 0, false));
}

#[test]
fn a_descriptor_by_number_is_copied_if_it_was_inherited() {
    let mut stand = Stand::root();
    stand.ok(Op::Inherit { number: 1, into: ONE });
    assert_eq!(numbers(&stand, Actor::Host), [0, 1, 2, 3, 4]);
    stand.no(Op::Inherit { number: 4, into: TWO }, Errno::EBADF);
    stand.no(Op::Inherit { number: 77, into: TWO }, Errno::EBADF);
    stand.no(Op::Inherit { number: u32::MAX, into: TWO }, Errno::EBADF);
}

#[test]
fn vacating_moves_what_stands_in_the_way_and_nothing_else() {
    let mut stand = Stand::root();
    stand.ok(open(c"/etc", OpenFlags::PATH, ONE));
    stand.ok(open(c"/usr", OpenFlags::PATH, TWO));
    assert_eq!(stand.cells[10..12], [Cell::Descriptor(4), Cell::Descriptor(5)]);
    let numbers: Vec<u8> = [4_u32, 6, 7].iter().flat_map(|number| number.to_le_bytes()).collect();
    stand.ok(Op::Vacate { numbers: Numbers::new(&numbers).unwrap() });
    assert_eq!(stand.cells[10..12], [Cell::Descriptor(8), Cell::Descriptor(5)]);
}

#[test]
fn ids_belong_to_one_and_the_last_removes_the_file() {
    const FILE: &core::ffi::CStr = c"/run/ids";
    let lock = |first, into| Op::LockIds { path: FILE, first, count: 10, into };
    let release = |file| Op::ReleaseIds { file, path: FILE, first: 0, count: 10 };
    let mut stand = Stand::on(Model::new());
    stand.ok(lock(0, ONE));
    stand.no(lock(5, TWO), Errno::EAGAIN);
    stand.ok(lock(10, TWO));
    assert_eq!(stand.model.host_changes().len(), 3, "a file and two locks");
    stand.ok(release(ONE));
    stand.no(release(ONE), Errno::EBADF);
    stand.no(lock(15, ONE), Errno::EAGAIN);
    stand.ok(lock(0, ONE));
    stand.ok(release(ONE));
    stand.ok(release(TWO));
    assert!(stand.model.host_changes().is_empty());
    // What others hold stays.
    let mut stand = Stand::on(Model::new().locked("/run/ids", 500, 10));
    stand.no(lock(505, ONE), Errno::EAGAIN);
    stand.ok(lock(0, ONE));
    stand.ok(release(ONE));
    assert!(stand.model.host_changes().is_empty());
    // A file that others can open is none for a lock.
    let mut stand = Stand::on(Model::new().file("/run/ids", ""));
    stand.no(lock(0, ONE), Errno::ESTALE);
    assert!(stand.model.host_changes().is_empty());
}

#[test]
fn row_122_the_sides_of_a_start_hear_each_other() {
    let mut stand = Stand::root();
    stand.spawn(Namespaces::PID, false, None).unwrap();
    stand.ok(Op::Release { to: HOST_END });
    stand.play(Actor::Child);
    stand.ok(Op::Adopt {});
    stand.ok(Op::Await { from: CHILD_END });
    // Nothing more will come: the host has done all that it does.
    stand.no(Op::Await { from: CHILD_END }, Errno::EDEADLK);
    stand.play(Actor::Host);
    stand.ok(Op::Close { file: CHILD_END });
    let heard = |stand: &mut Stand| {
        stand.ok(Op::Receive { from: HOST_END, timeout_ms: 1, early: false, cancel: None, file: TWO, into: ONE });
        stand.cells[10]
    };
    // The child has not run to its end: foretold.
    assert_eq!(heard(&mut stand), Cell::Value(Report::Marker.to_value()));
    stand.play(Actor::Child);
    stand.ok(Op::Announce { to: CHILD_END });
    stand.ok(Op::Exit { status: 3 });
    stand.no(Op::Umask { mode: 0 }, Errno::ESRCH);
    stand.play(Actor::Host);
    assert_eq!(heard(&mut stand), Cell::Value(Report::Closed.to_value()), "the marker is told once");
    stand.no(Op::Release { to: HOST_END }, Errno::ECANCELED);
    stand.no(Op::Await { from: HOST_END }, Errno::ECANCELED);
}

/// What was sent arrives as the same open file, and outlives its sender.
#[test]
fn a_descriptor_goes_over_the_conversation() {
    let mut stand = Stand::root();
    stand.spawn(Namespaces::PID, false, None).unwrap();
    stand.ok(Op::Close { file: CHILD_END });
    stand.play(Actor::Child);
    stand.ok(Op::Adopt {});
    stand.ok(open(c"/usr", OpenFlags::PATH, ONE));
    let send = |to, file| Op::SendFile { to, file, place: Slot(7) };
    stand.no(send(ONE, ONE), Errno::ENOTSOCK);
    stand.no(send(CHILD_END, Slot(20)), Errno::EBADF);
    stand.ok(send(CHILD_END, ONE));
    stand.ok(Op::Exit { status: 0 });
    stand.play(Actor::Host);
    let before = stand.model.process(Actor::Host).unwrap().descriptors().len();
    let receive = Op::Receive { from: HOST_END, timeout_ms: 1, early: false, cancel: None, file: TWO, into: ONE };
    stand.ok(receive);
    assert_eq!(stand.cells[10], Cell::Value(Report::File { place: Slot(7) }.to_value()));
    let files = stand.model.process(Actor::Host).unwrap().descriptors();
    assert_eq!(files.len(), before + 1);
    assert!(files.iter().any(|file| file.path.as_deref() == Some("/usr") && file.close_on_exec));
    stand.ok(Op::Fchdir { dir: TWO });
    stand.ok(receive);
    assert_eq!(stand.cells[10], Cell::Value(Report::Closed.to_value()));
    stand.no(send(HOST_END, TWO), Errno::EPIPE);
}

/// A host that keeps the child's end never hears it close.
#[test]
fn an_end_that_is_held_open_never_closes() {
    let mut stand = Stand::root();
    stand.ok(Op::SocketPair { one: ONE, other: TWO });
    let receive = Op::Receive { from: ONE, timeout_ms: 1, early: false, cancel: None, file: Slot(13), into: Slot(12) };
    stand.no(receive, Errno::ETIMEDOUT);
    stand.ok(Op::Close { file: TWO });
    stand.ok(receive);
    stand.no(Op::Announce { to: ONE }, Errno::EPIPE);
    stand.ok(open(c"/usr", OpenFlags::PATH, TWO));
    stand.no(Op::Release { to: TWO }, Errno::ENOTSOCK);
}

#[test]
fn raw_sockets_and_links_need_capabilities_over_the_network_namespace() {
    let socket = |family, kind| Op::Socket { family, kind, into: ONE };
    let mut stand = Stand::user();
    stand.no(socket(17, 2), Errno::EPERM);
    stand.no(socket(2, 3), Errno::EPROTONOSUPPORT);
    stand.no(socket(40, 1), Errno::EAFNOSUPPORT);
    stand.ok(socket(16, 3));
    stand.ok(socket(2, 1));
    stand.no(Op::LinkUp { socket: ONE, name: c"lo" }, Errno::EPERM);
    stand.no(Op::LinkUp { socket: ONE, name: c"eth9" }, Errno::ENODEV);
    stand.ok(Op::SocketOption { socket: ONE, level: 1, name: 2, value: 1 });
    let mut stand = Stand::user().contained();
    stand.ok(socket(2, 1));
    assert!(!stand.model.process(Actor::Child).unwrap().link_is_up("lo"));
    stand.ok(Op::LinkUp { socket: ONE, name: c"lo" });
    assert!(stand.model.process(Actor::Child).unwrap().link_is_up("lo"));
}

#[test]
fn landlock_takes_known_rights_and_needs_no_new_privs() {
    let mut stand = Stand::user();
    let make = |file_access, net_access| Op::LandlockRuleset { file_access, net_access, scoped: 0, into: ONE };
    stand.no(make(0, 0), Errno::ENOMSG);
    stand.no(make(1 << 40, 0), Errno::EINVAL);
    stand.ok(make(0b1100, 1));
    stand.ok(open(c"/usr", OpenFlags::PATH, TWO));
    let rule = |ruleset, parent, access| Op::LandlockPath { ruleset, parent, access };
    stand.ok(rule(ONE, TWO, 0b1000));
    stand.no(rule(ONE, TWO, 0), Errno::ENOMSG);
    stand.no(rule(ONE, TWO, 1), Errno::EINVAL);
    stand.no(rule(TWO, TWO, 0b1000), Errno::EBADFD);
    stand.no(rule(ONE, ONE, 0b1000), Errno::EBADFD);
    stand.ok(open(c"/etc/hostname", OpenFlags::PATH, TWO));
    stand.no(rule(ONE, TWO, 0b1000), Errno::EINVAL);
    stand.ok(rule(ONE, TWO, 0b1100));
    stand.ok(Op::LandlockPort { ruleset: ONE, port: 80, access: 1 });
    stand.no(Op::LandlockPort { ruleset: ONE, port: 80, access: 2 }, Errno::EINVAL);
    let restrict = Op::LandlockRestrict { ruleset: ONE };
    stand.no(restrict, Errno::EPERM);
    stand.ok(Op::NoNewPrivs {});
    for _ in 0..16 {
        stand.ok(restrict);
    }
    stand.no(restrict, Errno::E2BIG);
    assert_eq!(stand.model.process(Actor::Host).unwrap().landlock_layers(), 16);
}
