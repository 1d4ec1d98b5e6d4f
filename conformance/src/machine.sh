# Builds one machine: a Debian root with a writable layer in memory, in namespaces of its own.
# Arguments: the root, an empty directory to build on, the folder with the programs under test.
# Everything happens in a private mount namespace, so nothing of it is seen or left outside.
set -e
root=$1
place=$2
programs=$3
mount --make-rprivate /
mount -t tmpfs -o size=1g,mode=755 machine "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$place/upper,workdir=$place/work" "$place/root"
cd "$place/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup 2>/dev/null || true
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mkdir -p run/sshd run/lock run/stage mnt/old
mount --bind "$programs" run/stage
tr -d - < /proc/sys/kernel/random/uuid > etc/machine-id
hostname machine
# Its own name is known and nothing else is: no program waits for a resolver that is not there.
printf '127.0.0.1 localhost\n127.0.1.1 machine.example machine\n::1 localhost\n' > etc/hosts
rm -f etc/resolv.conf
: > etc/resolv.conf
ip link set lo up
pivot_root . mnt/old
umount -l /mnt/old
echo ready
exec /run/stage/stagehand init
