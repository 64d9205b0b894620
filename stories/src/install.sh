#!/bin/sh
# A package, really installed: in a throw-away root over this machine's own (an overlay, gone with its namespace), with
# loopback as its only network.
#
#   unshare --mount --net --pid --fork --mount-proc install.sh FOLDER OLDER.deb NEWER.deb
#
# Every step says what it does; the first that fails ends it.
set -eu
if [ "${1-}" != inside ]; then
  folder=$1
  mkdir -p "$folder/upper" "$folder/work" "$folder/root"
  mount -t tmpfs tmpfs "$folder/upper" 2>/dev/null || true
  mkdir -p "$folder/upper/u" "$folder/upper/w"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper/u,workdir=$folder/upper/w" "$folder/root"
  for kind in proc:proc tmpfs:tmp tmpfs:run; do mount -t "${kind%:*}" "${kind%:*}" "$folder/root/${kind#*:}"; done
  mount --rbind /dev "$folder/root/dev"
  cp "$2" "$folder/root/tmp/older.deb"
  cp "$3" "$folder/root/tmp/newer.deb"
  cp "$0" "$folder/root/tmp/install.sh"
  chmod 1777 "$folder/root/tmp"
  ip link set lo up
  exec chroot "$folder/root" /bin/sh /tmp/install.sh inside
fi

say() { echo "== $*"; }
fails() { echo "FAILED: $*"; exit 1; }
cd /tmp
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# As on a machine that never saw it; and this root need not outlive a power cut, nor know its manual pages by heart.
rm -rf /etc/stormpost /var/lib/stormpost
rm -f /var/lib/man-db/auto-update
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io

as_stormpost() {
  # What the unit asks of systemd: its own user, one capability, no way to more.
  setpriv --reuid stormpost --regid stormpost --clear-groups --inh-caps -all,+net_bind_service \
    --ambient-caps -all,+net_bind_service --bounding-set -all,+net_bind_service --no-new-privs "$@"
}
settled() { # what it waits for, then a command
  what=$1
  shift
  tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat /tmp/log; fails "$what"; }
    sleep 0.1
  done
}
greets() { swaks --server 127.0.0.1 --quit-after EHLO; }
sends() { swaks --server 127.0.0.1 --from outside@outside.test --to anna@company.test --body "$1"; }
nobody_reads() { # no file of these folders for everybody, sockets included
  open=$(find "$@" ! -type l -perm /007)
  [ -z "$open" ] || { ls -ld $open; fails "everybody on this machine may look into these"; }
}

say "the package is installed"
dpkg -i older.deb
[ "$(dpkg-query -W -f '${Status}' stormpost)" = "install ok installed" ] || fails "not installed"
getent passwd stormpost | grep -q '/var/lib/stormpost:/usr/sbin/nologin$' || fails "no user of its own"
[ "$(stat -c '%U %a' /var/lib/stormpost)" = "stormpost 700" ] || fails "the data folder"
[ "$(stat -c '%U %a' /etc/stormpost)" = "stormpost 750" ] || fails "the configuration's folder"
dpkg -V stormpost || fails "files are not as packed"
man -l /usr/share/man/man1/stormpost.1.gz 2>/dev/null | grep -q 'take.over' || fails "the manual page"
mandoc=$(man --warnings -l /usr/share/man/man1/stormpost.1.gz 2>&1 >/dev/null | head -3)
[ -z "$mandoc" ] || fails "the manual page: $mandoc"

say "the unit is one that systemd takes"
systemd-analyze verify --man=no stormpost.service 2>&1 | grep stormpost && fails "systemd-analyze verify"
systemd-analyze security --offline=yes --threshold=25 /usr/lib/systemd/system/stormpost.service | tail -1

say "it runs as its own user, on ports below 1024"
as_stormpost stormpost init --yes --name mx.company.test --domain company.test --account anna@company.test \
  --listen 127.0.0.1 --filter primary >/dev/null
as_stormpost env -i PATH="$PATH" stormpost serve >>log 2>&1 &
settled "the node does not come up" stormpost status
settled "nobody greets on port 25" greets
for pid in $(pgrep -x stormpost); do
  [ "$(stat -c %U "/proc/$pid")" = stormpost ] || fails "process $pid runs as $(stat -c %U "/proc/$pid")"
  grep -q '^CapEff:.*0000000000000400$' "/proc/$pid/status" || fails "process $pid may more than it needs"
done
[ "$(pgrep -xc stormpost)" = 2 ] || fails "not two processes"
sends one | grep -q '^<-  250 2.0.0' || fails "mail is not taken"
nobody_reads /var/lib/stormpost /etc/stormpost

say "a newer version is installed while it runs"
echo 'RUST_LOG=info' >>/etc/default/stormpost
dpkg -i newer.deb
grep -q '^RUST_LOG=info' /etc/default/stormpost || fails "what the administrator wrote is gone"
sends two | grep -q '^<-  250 2.0.0' || fails "the old program does not go on"
old=$(pgrep -xo stormpost)
(while [ ! -e /tmp/enough ]; do greets >/dev/null 2>&1 && echo greeted || echo refused; done >/tmp/knocks) &
as_stormpost env -i PATH="$PATH" stormpost serve --take-over >>log 2>&1 &
settled "the old program does not leave" sh -c "! kill -0 $old"
settled "the new program does not come up" stormpost status
newest() { for pid in $(pgrep -x stormpost); do readlink "/proc/$pid/exe" | grep -qx /usr/bin/stormpost || return 1; done; }
settled "an old program still runs" newest
sends three | grep -q '^<-  250 2.0.0' || fails "the new program takes no mail"
touch /tmp/enough
sleep 0.3
grep -q greeted /tmp/knocks || fails "nobody knocked"
! grep -q refused /tmp/knocks || fails "somebody was refused"
status=$(stormpost --version)
say "$status; $(grep -c greeted /tmp/knocks) greeted, none refused"

say "the package is removed, and purged"
kill "$(pgrep -xo stormpost)"
settled "it does not end" sh -c '! pgrep -x stormpost'
dpkg -r stormpost
[ ! -e /usr/bin/stormpost ] || fails "the program is still there"
[ -e /etc/default/stormpost ] || fails "a removal took the configuration"
dpkg --purge stormpost | tee purge
[ ! -e /etc/default/stormpost ] || fails "a purge left the conffile"
grep -q 'rm -r /var/lib/stormpost' purge || fails "nobody is told what is left"
[ -e /etc/stormpost/stormpost.toml ] && [ -e /etc/stormpost/stormpost.key ] || fails "the keys are gone"
ls /var/lib/stormpost/journal/*.seg >/dev/null || fails "the mail is gone"

say "installed again, it finds what was left"
dpkg -i newer.deb >/dev/null
as_stormpost env -i PATH="$PATH" stormpost journal verify
nobody_reads /var/lib/stormpost /etc/stormpost
say "done"
