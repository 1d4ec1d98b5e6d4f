# Builds the street in front of a machine: the network that attackers and passers-by live in.
# Argument: the process id of the machine's init. Runs in a network namespace of its own.
set -e
machine=$1
programs=$2
inside="nsenter --target $machine --net"
ip link set lo up
ip link add out address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns "$machine"
ip addr add 10.66.0.1/24 dev out
ip -6 addr add fd66::1/64 dev out nodad
ip link set out up
$inside ip addr add 10.66.0.2/24 dev eth0
$inside ip -6 addr add fd66::2/64 dev eth0 nodad
$inside ip link set eth0 up
$inside ip route add default via 10.66.0.1
$inside ip -6 route add default via fd66::1
# Both know their neighbour: no first packet waits for it or gets lost.
for address in 10.66.0.2 fd66::2; do ip neigh replace "$address" lladdr 02:00:00:00:00:02 dev out nud permanent; done
for address in 10.66.0.1 fd66::1; do $inside ip neigh replace "$address" lladdr 02:00:00:00:00:01 dev eth0 nud permanent; done
# Every address of these ranges is at home here without being configured one by one.
for range in 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 198.18.0.0/15; do
    ip route add local "$range" dev lo
done
ip -6 route add local 2001:db8::/32 dev lo
echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/out/rp_filter
# One SYN, one answer, no state and no repetition: a witness counts what came through, exactly.
$inside sh -c 'echo 2 > /proc/sys/net/ipv4/tcp_syncookies'
nft -f - <<'RULES'
table inet witness {
    counter sent { }
    counter answered { }
    chain before {
        type filter hook prerouting priority -300;
        iifname "out" ip daddr 198.18.0.0/16 counter name answered drop
        iifname "out" ip6 daddr 2001:db8:18::/48 counter name answered drop
    }
    chain after {
        type filter hook output priority 0;
        oifname "out" ip saddr 198.18.0.0/16 counter name sent
        oifname "out" ip6 saddr 2001:db8:18::/48 counter name sent
        oifname "out" ip saddr 198.19.0.0/16 tcp flags rst drop
        oifname "out" ip6 saddr 2001:db8:19::/48 tcp flags rst drop
    }
}
table inet gate {
    chain closed {
        type filter hook postrouting priority 0;
    }
}
RULES
echo ready
exec "$programs/stagehand" init
