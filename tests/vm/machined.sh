#!/bin/sh
# Tries --register= where there is a systemd-machined: boots the machine of `run` with
# machinectl(1) in it, and asks that about containers of Skep.
#
#   machined.sh [DIR]       DIR: where the bundle is made
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bundle=${1:-$here/cache/machined}
target=${CARGO_TARGET_DIR:-$root/target}
rm -rf "$bundle"
mkdir -p "$bundle/bin"
(cd "$root" && cargo build --locked -p skep-launcher)
cp "$target/debug/skep" "$bundle/bin/"
cat >"$bundle/run-tests" <<'END'
#!/bin/sh
# Exit code: how many of the checks have failed.
failed=0
PATH=/skep/bin:$PATH
check() {
    what=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        echo "ok: $what"
    else
        failed=$((failed + 1))
        echo "FAILED ($?): $what: $*"
        sed 's/^/    /' /tmp/said
    fi
}
within() {
    tries=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.5
    done
}
shows() { machinectl show "$1" -p "$2" --value | grep -qx "$3"; }
gone() { ! skep status "$1" 2>/dev/null && ! machinectl status "$1" 2>/dev/null; }
answers() { SYSTEMD_LOG_LEVEL=err machinectl shell "$1" /bin/sh -c 'echo up' 2>&1 </dev/null | grep -q up; }

script="trap 'exit 0' 38; trap 'exit 3' INT; while :; do sleep 0.2; done"
start() { skep run --detach --as-pid2=no -M "$1" "$2" -- sh -c "$script"; }
check "it is registered" start one --register=yes
check "machinectl list" sh -c 'machinectl list --no-legend | grep "^one *container *skep"'
check "machinectl status" machinectl status one
check "its leader" shows one Leader "$(skep status --json one | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')"
check "its root" shows one RootDirectory /
check "a pair" skep run --detach -M seven --register=yes -n --network-address=10.9.0.2/30 -- sleep 1000
check "its interface" sh -c 'machinectl status seven | grep -E "Iface: *ve-seven"'
check "its address" sh -c 'machinectl status seven | grep -F 10.9.0.2'
check "kill of the pair" skep kill seven
check "which is gone" within 40 gone seven
check "machinectl poweroff" machinectl poweroff one
check "it powers off, and is forgotten" within 40 gone one
check "auto registers" start two --register=auto
check "machinectl kill" sh -c "machinectl kill two --kill-whom=leader -s 38 || machinectl kill two --kill-who=leader -s 38"
check "it ends" within 40 gone two
check "a name that machined has" sh -c 'skep run --detach -M three --register=yes -- sleep 1000'
check "no leaves it out" start four --register=no
check "which machinectl does not know" sh -c '! machinectl status four'
check "kill" sh -c 'skep kill four && skep kill three'
check "both are gone" within 40 gone three
systemctl stop systemd-machined.service
systemctl mask --runtime systemd-machined.service dbus-org.freedesktop.machine1.service >/dev/null 2>&1
check "auto does without" start five --register=auto
check "yes does not" sh -c '! skep run --register=yes -M six -- true'
skep kill five
systemctl unmask --runtime systemd-machined.service dbus-org.freedesktop.machine1.service >/dev/null 2>&1

# This system once more, without what it runs itself.
mkdir -p /tree && mount --bind / /tree
check "a system boots" skep nspawn --detach -M guest -D /tree -x --register=yes --kill-signal=SIGRTMIN+3 \
    /lib/systemd/systemd --unit=basic.target
check "machinectl shell" within 60 answers guest
skep logs guest | tail -n 20
check "machinectl poweroff of the system" machinectl poweroff guest
check "it powers off" within 120 gone guest
umount /tree
exit $failed
END
chmod +x "$bundle/run-tests"
SKEP_VM_INCLUDE=systemd-container,dbus exec "$here/run" --timeout 900 "$bundle"
