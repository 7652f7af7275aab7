#!/bin/sh
# Install the Debian packages of the servers that the tests start, where this user may; say so where not.
set -eu
here=$(dirname "$0")
# Another place is for the test of this script.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
missing=""
for package in $(cat "$here/packages.txt"); do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root=none
fi

remove_policy() {
    # Only our own: an administrator's stays.
    if [ "$as_root" != none ] && grep -qs "certbot-garr-tcs" "$policy"; then
        $as_root rm -f "$policy"
    fi
}

# Debian has one FTP server a machine: the second is unpacked, and tests/needs.py finds it there.
unpack() {
    unpacked=$here/../.cache/unpacked
    [ ! -x "$unpacked/usr/sbin/vsftpd" ] || return 0
    mkdir -p "$unpacked"
    (cd "$unpacked" && apt-get -o APT::Sandbox::User=root download -qq vsftpd && dpkg-deb -x vsftpd_*.deb . &&
        rm vsftpd_*.deb) || echo "packages: vsftpd could not be unpacked; the test that needs it says so"
}

# A run that was killed by KILL left it behind, and no daemon would start when its package is installed.
remove_policy
if [ -z "$missing" ]; then
    unpack
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "packages: this is no Debian; tests that need$missing say so"
    exit 0
fi
if [ "$as_root" = none ]; then
    echo "packages: not root, so these stay missing, and tests that need them say so:$missing"
    exit 0
fi
echo "packages: this installs with apt-get, and starts none of them:$missing"
echo "packages: Ctrl-C stops it; make test-unit checks what needs no server"
# A server that a package starts by itself would take a port, and none is needed: the tests start their own.
# The shell runs a trap when apt-get has ended, so a signal never comes between dpkg's steps.
trap remove_policy EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\n# certbot-garr-tcs: tests/packages.sh removes this when it has installed its packages\nexit 101\n' |
        $as_root sh -c "cat > $policy && chmod 755 $policy"
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # one word a package
$as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
unpack
