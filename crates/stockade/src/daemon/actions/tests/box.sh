# A Debian root with a writable layer in memory, in namespaces of its own.
# Arguments: an empty folder, the root, a folder that appears as /stage, and the command to run inside.
set -e
place=$1
root=$2
stage=$3
shift 3
mount -t tmpfs none "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=$root,upperdir=$place/upper,workdir=$place/work" none "$place/root"
cd "$place/root"
mkdir stage
mount --bind "$stage" stage
mount -t proc none proc
mount --bind /dev dev
ip link set lo up 2>/dev/null || true
# Who starts a shell, and with which words, is written down.
rm -f bin/sh
cp stage/shell.sh bin/sh
# Tools that actions call by name or by place.
mkdir -p stubs etc/init.d
for tool in $(cat stage/tools); do
    cp stage/stub.sh "stubs/$tool"
done
for tool in usr/sbin/sendmail sbin/ipf usr/sbin/pfctl; do
    rm -f "$tool"
    cp stage/stub.sh "$tool"
done
: > record
: > fail
hostname machine
printf '127.0.0.1 localhost\n127.0.1.1 machine.example machine\n' > etc/hosts
exec chroot . "$@" < /dev/null
