#!/bin/sh
# Builds the bundle that tests/vm/run takes: the real-kernel tests and the
# main job, run in the guest as root, as an ordinary user with and without
# subordinate ids, and in a delegated scope.
#
#   bundle.sh [DIR]         every suite
#   bundle.sh --short DIR   those that depend on the kernel and the system most
set -eu
pass=whole
if [ "${1:-}" = --short ]; then
    pass=short
    shift
fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bundle=${1:-$here/cache/bundle}
target=${CARGO_TARGET_DIR:-$root/target}

rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/mdbook-host"
(cd "$root" && cargo build --locked --release -p skep-launcher -p mdbook-server)
cp "$target/release/skep" "$target/release/mdbook-server" "$bundle/bin/"
cp -r "$root/examples/mdbook-host/book" "$root/examples/mdbook-host/mdbook-host.nspawn" "$bundle/mdbook-host/"

# The names of the test binaries come from cargo, not from a guess.
(cd "$root" && cargo test --locked -p skep-tests --no-run --message-format=json) |
    sed -n 's/.*"executable":"\([^"]*\/deps\/\([a-z]*\)-[0-9a-f]*\)".*/\2 \1/p' |
    while read -r name path; do
        # Without what a debugger reads, which is most of it: the machine's disk is small.
        # Names of functions stay, for the suite that reads the disassembly.
        strip --strip-debug -o "$bundle/bin/test-$name" "$path"
    done

echo "$pass" >"$bundle/pass"
cat >"$bundle/run-tests" <<'END'
#!/bin/sh
# Every test of the suite, for every sort of caller. Exit code: 0 if all passed.
failed=0
mkdir -p /tmp/skep && cp -r /skep/bin /skep/mdbook-host /tmp/skep/ && chmod -R a+rX /tmp/skep
cd /tmp
uname -r
suite() {
    who=$1
    tests=$2
    shift 2
    for name in $tests; do
        test=/tmp/skep/bin/test-$name
        echo "=== $who: $name"
        # Emulated: a tenth of the speed.
        "$@" env SKEP_VM=1 SKEP_FAULT_STEP=41 "$test" --test-threads=1 2>&1 | tee "$SKEP_RESULTS/$who-$name.log" | grep -E '^test .*FAILED|panicked|^SKIP|^test result|left:|right:' -A1
        grep -q '^test result: ok' "$SKEP_RESULTS/$who-$name.log" || failed=1
    done
}
main_job() {
    who=$1
    shift
    echo "=== $who: main job"
    "$@" sh -c '
        /tmp/skep/bin/skep run -f /tmp/skep/mdbook-host/mdbook-host.nspawn \
            --bind-ro=/tmp/skep/bin/mdbook-server:/srv/mdbook-server >/tmp/main.$$.out 2>&1 &
        job=$!
        for i in $(seq 200); do grep -q "running: Ready" /tmp/main.$$.out && break; sleep 0.1; done
        cat /tmp/main.$$.out
        exec 3<>/dev/null
        (exec 3<>/dev/tcp/127.0.0.1/8085) 2>/dev/null || true
        bash -c "exec 3<>/dev/tcp/127.0.0.1/8085; printf \"GET / HTTP/1.0\r\n\r\n\" >&3; head -c 15 <&3" | grep -q "HTTP/1.1 200" || exit 1
        kill -INT $job
        wait $job
        echo "main job ended with $?"
    ' || failed=1
}
# What a start, its failure and its end depend on.
all="posture roots limits faults hostile lifecycle embedding"
if [ "$(cat /skep/pass)" = whole ]; then
    all=$(cd /tmp/skep/bin && echo test-* | sed 's/test-//g')
fi
main_job root env
main_job tester as-user tester env
suite root "$all" env
suite tester "$all" as-user tester env
suite plain "posture roots" as-user plain env
suite scope "limits lifecycle" as-user tester systemd-run --quiet --user --scope -p Delegate=yes
/tmp/skep/bin/skep doctor
as-user tester /tmp/skep/bin/skep doctor
exit $failed
END
chmod +x "$bundle/run-tests"
echo "$bundle"
