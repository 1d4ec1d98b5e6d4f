# One machine of its own over a Debian root, with a daemon that has banned; what its commands show is written down.
# Words: the root, an empty folder, the program, the folder for what is shown. Runs in namespaces of its own.
set -eu
root=$1 place=$2 program=$3 out=$4
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/all"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$place/upper,workdir=$place/work" "$place/all"
all=$place/all
mount -t proc proc "$all/proc"
mount --rbind /dev "$all/dev"
mount -t tmpfs tmpfs "$all/run"
hostname vps
ip link set lo up
cp "$program" "$all/usr/bin/stockade"
mkdir -p "$all/etc/stockade" "$all/var/log"
printf '[sshd]\nbackend = polling\nlogpath = /var/log/auth.log\n' > "$all/etc/stockade/jail.local"

tries() { # address, name, how many
    n=0
    while [ $n -lt "$3" ]; do
        n=$((n + 1))
        printf '%s vps sshd-session[%s]: Failed password for %s from %s port 4%04d ssh2\n' \
            "$(date -d "-$((40 - n * 6)) seconds" '+%b %e %H:%M:%S')" "$pid" "$2" "$1" "$pid"
    done
    pid=$((pid + 1))
}
pid=2101
{
    tries 203.0.113.66 root 5
    tries 198.51.100.7 'invalid user oracle' 6
    tries 2001:db8::53 'invalid user ubnt' 5
    tries 203.0.113.80 carol 3
    printf '%s vps sshd-session[%s]: Accepted publickey for carol from 192.0.2.10 port 40110 ssh2: ED25519 SHA256:c2FtcGxl\n' \
        "$(date '+%b %e %H:%M:%S')" $pid
} > "$all/var/log/auth.log"
inside() { chroot "$all" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=xterm-256color HOME=/root TZ=UTC PS1='# ' "$@"; }
inside stockade run > "$place/daemon" 2>&1 &
n=0
until inside stockade banned 2>/dev/null | grep -q 2001:db8::53; do
    n=$((n + 1))
    if [ $n -gt 200 ]; then cat "$place/daemon" >&2; exit 1; fi
    sleep 0.1
done

# Types a command into a terminal of that size and writes down what stands there when the prompt is back.
picture() { # name, columns, lines, command
    export TMUX_TMPDIR="$place"
    tmux -L "$1-$2" -f /dev/null new-session -d -x "$2" -y "$3" \
        "chroot $all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=xterm-256color HOME=/root TZ=UTC PS1='# ' bash --norc --noprofile"
    tmux -L "$1-$2" set -g status off
    tmux -L "$1-$2" resize-window -x "$2" -y "$3"
    tmux -L "$1-$2" send-keys "clear; $4" Enter
    n=0
    while sleep 0.2; do
        n=$((n + 1))
        last=$(tmux -L "$1-$2" capture-pane -p | sed '/^ *$/d' | tail -n 1)
        if [ $n -gt 5 ] && [ "$last" = '#' ]; then break; fi
        if [ $n -gt 600 ]; then tmux -L "$1-$2" capture-pane -p >&2; exit 1; fi
    done
    { printf '# %s\n' "$4"; tmux -L "$1-$2" capture-pane -e -p | sed '1{/^# clear/d}'; } > "$out/$1-$2x$3.ansi"
    tmux -L "$1-$2" kill-server
}
for size in '80 24' '200 60'; do
    set -- $size
    picture status "$1" "$2" 'stockade status'
    picture banned "$1" "$2" 'stockade banned'
    picture why "$1" "$2" 'stockade why 203.0.113.66'
    picture why-not "$1" "$2" 'stockade why 192.0.2.10'
    picture demo "$1" "$2" 'stockade demo'
done
