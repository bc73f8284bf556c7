# systemd as the init of namespaces of its own, on a root of its own: nothing
# of the host but its programs and libraries, which stay read-only, and its
# network, unless it has one of its own. Begins in a mount namespace of its own.
#   boot.sh DIRECTORY PROGRAM CGROUP [--net]: the directory is empty and is seen
#   as /out inside, PROGRAM is /usr/bin/tandem, CGROUP the name of a control
#   group.
set -eu
out=$1 program=$2 cgroup=$3 net=${4-}

root=$out/root
mkdir "$root"
mount -t tmpfs -o mode=755 none "$root"
cd "$root"

# Control groups are systemd's way to know what belongs to a unit. These are
# below one of our own, and the namespace that follows shows no others.
mkdir cgroup
mount -t cgroup2 none cgroup
mkdir "cgroup/$cgroup"
echo $$ >"cgroup/$cgroup/cgroup.procs"
umount cgroup
rmdir cgroup

mkdir -p dev etc/systemd/system home out proc root run sys tmp usr/bin var/lib
chmod 1777 tmp
for link in bin lib lib32 lib64 libx32 sbin; do
    if [ -L "/$link" ]; then ln -s "$(readlink "/$link")" "$link"; fi
done
# Everything of /usr but one program, which is ours.
for of_usr in /usr/*; do
    name=${of_usr#/usr/}
    if [ "$name" = bin ]; then name=host-bin; fi
    if [ -d "$of_usr" ] && [ ! -L "$of_usr" ]; then
        mkdir -p "usr/$name"
        mount --bind "$of_usr" "usr/$name"
        mount -o remount,bind,ro "usr/$name"
    fi
done
(cd usr/bin && ln -s ../host-bin/* .)
rm -f usr/bin/tandem
touch usr/bin/tandem
mount --bind "$program" usr/bin/tandem
# Of the host's units only the names of the boot's stages: what hangs on them is
# not started.
mkdir targets
cp /usr/lib/systemd/system/*.target targets
mount --bind targets usr/lib/systemd/system

mount --bind "$out" out
mount -t sysfs -o ro none sys
mount -t tmpfs -o mode=755 none dev
for node in full null random tty urandom zero; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 none dev/pts
mount -t tmpfs none dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
# What systemd itself has to say.
touch out/systemd dev/kmsg
mount --bind out/systemd dev/kmsg

cp /etc/ld.so.cache etc/
: >etc/machine-id
: >etc/os-release
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
printf 'root:x:0:\nweb:x:64001:\n' >etc/group
echo '127.0.0.1 localhost' >etc/hosts
printf '%s: files\n' passwd group hosts >etc/nsswitch.conf

export net
exec unshare $net --cgroup --ipc --pid --uts --fork --kill-child sh -eu -c '
    mount -t proc none proc
    if [ "$net" ]; then echo 1 >proc/sys/net/ipv4/ip_forward; fi
    # The kernel is the host'"'"'s, too.
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mkdir -p sys/fs/cgroup
    mount -t cgroup2 none sys/fs/cgroup
    mkdir old
    pivot_root . old
    umount -l old
    # As on a host: what systemd mounts for a unit is moved into its namespace.
    mount --make-rshared /
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /usr/lib/systemd/systemd --system --unit=multi-user.target \
        --log-target=kmsg --log-level=info --show-status=no
'
