#!/bin/sh
# Install the Debian packages of the servers that the tests start, where this user may; say so where not.
set -eu
here=$(dirname "$0")
missing=""
for package in $(cat "$here/packages.txt"); do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "packages: this is no Debian; tests that need$missing say so"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "packages: not root, so these stay missing, and tests that need them say so:$missing"
    exit 0
fi
# A server that a package starts by itself would take a port, and none is needed: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root sh -c "cat > $policy && chmod 755 $policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # one word a package
$as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
