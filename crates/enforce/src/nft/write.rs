//! Writes tables, chains, rules, sets and elements into a transaction.

use std::net::IpAddr;

use stockade_core::Net;

use super::words::*;
use crate::layout::Verdict;
use crate::netlink::{ACK, APPEND, CREATE, Socket, Writer};

/// After our own death the kernel clears expired elements this often; while we live we delete them ourselves.
const GC_MILLIS: u32 = 60_000;

/// A transaction on one table; it happens as a whole or not at all.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(super) writer: Writer,
    /// Of which family the table is.
    family: u8,
    table: &'a str,
    /// Messages that will be acknowledged.
    pub(super) messages: usize,
    /// Rules added.
    pub(super) rules: usize,
}

/// The name of a chain that a map's element or a rule jumps to.
pub(crate) type ChainName<'a> = &'a str;

impl<'a> Batch<'a> {
    pub(crate) fn new(socket: &Socket, family: u8, table: &'a str) -> Self {
        let mut writer = socket.writer();
        let [high, low] = SUBSYSTEM.to_be_bytes();
        writer.begin(BATCH_BEGIN, 0, &[0, 0, high, low]);
        writer.end();
        Batch { writer, family, table, messages: 0, rules: 0 }
    }

    /// Closes the transaction.
    pub(super) fn finish(&mut self) {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.writer.begin(BATCH_END, 0, &[0, 0, high, low]);
        self.writer.end();
    }

    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) -> u32 {
        let seq = self.writer.begin(SUBSYSTEM << 8 | kind, flags | ACK, &[self.family, 0, 0, 0]);
        body(&mut self.writer);
        self.writer.end();
        self.messages = self.messages.saturating_add(1);
        seq
    }

    pub(crate) fn add_table(&mut self, flags: u32) -> u32 {
        let table = self.table;
        self.message(NEWTABLE, CREATE, |w| {
            w.text(TABLE_NAME, table);
            w.be32(TABLE_FLAGS, flags);
        })
    }

    pub(crate) fn delete_table(&mut self) -> u32 {
        let table = self.table;
        self.message(DELTABLE, 0, |w| w.text(TABLE_NAME, table))
    }

    /// Removes a table that may not exist; kernels before 6.3 don't know this verb.
    pub(crate) fn destroy_table(&mut self, name: &str) -> u32 {
        self.message(DESTROYTABLE, 0, |w| w.text(TABLE_NAME, name))
    }

    pub(crate) fn add_chain(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(NEWCHAIN, CREATE, |w| {
            w.text(CHAIN_TABLE, table);
            w.text(CHAIN_NAME, name);
        })
    }

    pub(crate) fn add_base_chain(&mut self, name: &str, hook: u32, priority: i32) -> u32 {
        let table = self.table;
        self.message(NEWCHAIN, CREATE, |w| {
            w.text(CHAIN_TABLE, table);
            w.text(CHAIN_NAME, name);
            w.nest(CHAIN_HOOK, |w| {
                w.be32(HOOK_NUM, hook);
                w.be32(HOOK_PRIORITY, priority.cast_unsigned());
            });
            w.be32(CHAIN_POLICY, VERDICT_ACCEPT);
            w.text(CHAIN_TYPE, "filter");
        })
    }

    pub(crate) fn flush_chain(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(DELRULE, 0, |w| {
            w.text(RULE_TABLE, table);
            w.text(RULE_CHAIN, name);
        })
    }

    pub(crate) fn delete_chain(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(DELCHAIN, 0, |w| {
            w.text(CHAIN_TABLE, table);
            w.text(CHAIN_NAME, name);
        })
    }

    /// Appends a rule.
    pub(crate) fn add_rule(&mut self, chain: &str, expressions: impl FnOnce(&mut Rule<'_>)) -> u32 {
        let table = self.table;
        self.rules = self.rules.saturating_add(1);
        self.message(NEWRULE, CREATE | APPEND, |w| {
            w.text(RULE_TABLE, table);
            w.text(RULE_CHAIN, chain);
            w.nest(RULE_EXPRESSIONS, |w| expressions(&mut Rule(w)));
        })
    }

    /// A hash set of addresses with timeouts.
    pub(crate) fn add_address_set(&mut self, name: &str, ipv4: bool) -> u32 {
        let table = self.table;
        let id = u32::try_from(self.messages).unwrap_or(0).wrapping_add(1);
        self.message(NEWSET, CREATE, |w| {
            w.text(SET_TABLE, table);
            w.text(SET_NAME, name);
            w.be32(SET_FLAGS, SET_F_TIMEOUT);
            w.be32(SET_KEY_TYPE, if ipv4 { KEY_IPV4 } else { KEY_IPV6 });
            w.be32(SET_KEY_LEN, if ipv4 { 4 } else { 16 });
            w.be32(SET_ID, id);
            w.be32(SET_GC_INTERVAL, GC_MILLIS);
        })
    }

    /// A map from single ports to chains: a hash table for exactly so many, the same for each packet however many there are.
    pub(crate) fn add_port_map(&mut self, name: &str, ports: usize) -> u32 {
        let size = u32::try_from(ports).unwrap_or(u32::MAX);
        self.add_map(name, SET_F_MAP, |w| w.nest(SET_DESC, |w| w.be32(SET_DESC_SIZE, size)))
    }

    /// A map from port ranges to chains.
    pub(crate) fn add_port_range_map(&mut self, name: &str) -> u32 {
        self.add_map(name, SET_F_INTERVAL | SET_F_MAP, |_| {})
    }

    fn add_map(&mut self, name: &str, flags: u32, more: impl FnOnce(&mut Writer)) -> u32 {
        let table = self.table;
        let id = u32::try_from(self.messages).unwrap_or(0).wrapping_add(1);
        self.message(NEWSET, CREATE, |w| {
            w.text(SET_TABLE, table);
            w.text(SET_NAME, name);
            w.be32(SET_FLAGS, flags);
            w.be32(SET_KEY_TYPE, KEY_SERVICE);
            w.be32(SET_KEY_LEN, 2);
            w.be32(SET_DATA_TYPE, DATA_TYPE_VERDICT);
            w.be32(SET_DATA_LEN, 16);
            more(w);
            w.be32(SET_ID, id);
        })
    }

    /// Fills a map of single ports, each at most once.
    pub(crate) fn fill_port_map(&mut self, name: &str, ports: &[(u16, ChainName<'_>)]) -> u32 {
        let table = self.table;
        self.message(NEWSETELEM, CREATE, |w| {
            w.text(ELEMS_TABLE, table);
            w.text(ELEMS_SET, name);
            w.nest(ELEMS_ELEMENTS, |w| {
                for (port, chain) in ports {
                    w.nest(LIST_ELEM, |w| {
                        w.nest(ELEM_KEY, |w| w.bytes(DATA_VALUE, &port.to_be_bytes()));
                        w.nest(ELEM_DATA, |w| jump(w, chain));
                    });
                }
            });
        })
    }

    /// Fills a map of ranges, which don't overlap and are sorted. `first` is true for the first part of a map.
    pub(crate) fn fill_port_range_map(&mut self, name: &str, ranges: &[(u16, u16, ChainName<'_>)], first: bool) -> u32 {
        let table = self.table;
        self.message(NEWSETELEM, CREATE, |w| {
            w.text(ELEMS_TABLE, table);
            w.text(ELEMS_SET, name);
            w.nest(ELEMS_ELEMENTS, |w| {
                // An interval set starts with "from port 0 on: nothing", unless port 0 is meant.
                if first && ranges.first().is_some_and(|(low, ..)| *low > 0) {
                    interval_end(w, 0);
                }
                for (low, high, chain) in ranges {
                    w.nest(LIST_ELEM, |w| {
                        w.nest(ELEM_KEY, |w| w.bytes(DATA_VALUE, &low.to_be_bytes()));
                        w.nest(ELEM_DATA, |w| jump(w, chain));
                    });
                    if let Some(end) = high.checked_add(1) {
                        interval_end(w, end);
                    }
                }
            });
        })
    }

    pub(crate) fn delete_set(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(DELSET, 0, |w| {
            w.text(SET_TABLE, table);
            w.text(SET_NAME, name);
        })
    }

    pub(crate) fn add_counter(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(NEWOBJ, CREATE, |w| {
            w.text(OBJ_TABLE, table);
            w.text(OBJ_NAME, name);
            w.be32(OBJ_TYPE, OBJ_COUNTER);
            w.nest(OBJ_DATA, |_| {});
        })
    }

    /// Removes one rule by its number.
    pub(crate) fn delete_rule(&mut self, chain: &str, handle: u64) -> u32 {
        let table = self.table;
        self.message(DELRULE, 0, |w| {
            w.text(RULE_TABLE, table);
            w.text(RULE_CHAIN, chain);
            w.bytes(RULE_HANDLE, &handle.to_be_bytes());
        })
    }

    /// Removes all elements of a set.
    pub(crate) fn flush_set(&mut self, set: &str) -> u32 {
        let table = self.table;
        self.message(DELSETELEM, 0, |w| {
            w.text(ELEMS_TABLE, table);
            w.text(ELEMS_SET, set);
        })
    }

    pub(crate) fn delete_counter(&mut self, name: &str) -> u32 {
        let table = self.table;
        self.message(DELOBJ, 0, |w| {
            w.text(OBJ_TABLE, table);
            w.text(OBJ_NAME, name);
            w.be32(OBJ_TYPE, OBJ_COUNTER);
        })
    }

    /// Adds (with `CREATE`) or removes elements of one set; at most [`super::MESSAGE_ELEMENTS`] per message.
    pub(crate) fn elements(&mut self, verb: u16, set: &str, elements: impl Iterator<Item = (Net, Option<u64>)>) -> u32 {
        let table = self.table;
        let flags = if verb == NEWSETELEM { CREATE } else { 0 };
        self.message(verb, flags, |w| {
            w.text(ELEMS_TABLE, table);
            w.text(ELEMS_SET, set);
            w.nest(ELEMS_ELEMENTS, |w| {
                for (net, millis) in elements {
                    w.nest(LIST_ELEM, |w| {
                        key(w, net);
                        if let Some(millis) = millis {
                            w.bytes(ELEM_TIMEOUT, &millis.to_be_bytes());
                        }
                    });
                }
            });
        })
    }
}

/// The key of an element: the (first) address.
pub(super) fn key(w: &mut Writer, net: Net) {
    w.nest(ELEM_KEY, |w| match net.addr() {
        IpAddr::V4(addr) => w.bytes(DATA_VALUE, &addr.octets()),
        IpAddr::V6(addr) => w.bytes(DATA_VALUE, &addr.octets()),
    });
}

fn interval_end(w: &mut Writer, port: u16) {
    w.nest(LIST_ELEM, |w| {
        w.nest(ELEM_KEY, |w| w.bytes(DATA_VALUE, &port.to_be_bytes()));
        w.be32(ELEM_FLAGS, ELEM_F_INTERVAL_END);
    });
}

fn jump(w: &mut Writer, chain: ChainName<'_>) {
    w.nest(DATA_VERDICT, |w| {
        w.be32(VERDICT_CODE, VERDICT_JUMP);
        w.text(VERDICT_CHAIN, chain);
    });
}

/// The expressions of a rule, in the order in which the kernel evaluates them.
#[derive(Debug)]
pub(crate) struct Rule<'w>(&'w mut Writer);

impl Rule<'_> {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Writer)) {
        self.0.nest(LIST_ELEM, |w| {
            w.text(EXPR_NAME, name);
            w.nest(EXPR_DATA, data);
        });
    }

    fn meta(&mut self, what: u32) {
        self.expression("meta", |w| {
            w.be32(META_KEY, what);
            w.be32(META_DREG, REG_1);
        });
    }

    fn equals(&mut self, value: &[u8]) {
        self.expression("cmp", |w| {
            w.be32(CMP_SREG, REG_1);
            w.be32(CMP_OP, 0);
            w.nest(CMP_DATA, |w| w.bytes(DATA_VALUE, value));
        });
    }

    fn payload(&mut self, base: u32, offset: u32, len: u32) {
        self.expression("payload", |w| {
            w.be32(PAYLOAD_DREG, REG_1);
            w.be32(PAYLOAD_BASE, base);
            w.be32(PAYLOAD_OFFSET, offset);
            w.be32(PAYLOAD_LEN, len);
        });
    }

    /// Only packets that come in by the loopback interface, whose index is 1 in every network namespace.
    pub(crate) fn loopback(&mut self) {
        self.meta(META_IIF);
        self.equals(&1u32.to_ne_bytes());
    }

    /// Only packets of this protocol.
    pub(crate) fn protocol(&mut self, number: u8) {
        self.meta(META_L4PROTO);
        self.equals(&[number]);
    }

    /// Only packets whose source, cut to the prefix, is an element of the set.
    pub(crate) fn source_in(&mut self, set: &str, ipv4: bool, prefix: u8) {
        self.meta(META_NFPROTO);
        self.equals(&[if ipv4 { PROTO_IPV4 } else { PROTO_IPV6 }]);
        let len: u8 = if ipv4 { 4 } else { 16 };
        self.payload(BASE_NETWORK, if ipv4 { 12 } else { 8 }, u32::from(len));
        if prefix < len.saturating_mul(8) {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0).to_be_bytes();
            let mask = mask.get(..usize::from(len)).unwrap_or_default();
            let zero = [0u8; 16];
            self.expression("bitwise", |w| {
                w.be32(BITWISE_SREG, REG_1);
                w.be32(BITWISE_DREG, REG_1);
                w.be32(BITWISE_LEN, u32::from(len));
                w.nest(BITWISE_MASK, |w| w.bytes(DATA_VALUE, mask));
                w.nest(BITWISE_XOR, |w| w.bytes(DATA_VALUE, zero.get(..mask.len()).unwrap_or_default()));
            });
        }
        self.expression("lookup", |w| {
            w.text(LOOKUP_SET, set);
            w.be32(LOOKUP_SREG, REG_1);
        });
    }

    /// Goes where the map sends the destination port.
    pub(crate) fn port_map(&mut self, map: &str) {
        self.payload(BASE_TRANSPORT, 2, 2);
        self.expression("lookup", |w| {
            w.text(LOOKUP_SET, map);
            w.be32(LOOKUP_SREG, REG_1);
            w.be32(LOOKUP_DREG, REG_VERDICT);
        });
    }

    /// Counts the packet.
    pub(crate) fn counter(&mut self, name: &str) {
        self.expression("objref", |w| {
            w.be32(OBJREF_TYPE, OBJ_COUNTER);
            w.text(OBJREF_NAME, name);
        });
    }

    pub(crate) fn jump(&mut self, chain: ChainName<'_>) {
        self.expression("immediate", |w| {
            w.be32(IMMEDIATE_DREG, REG_VERDICT);
            w.nest(IMMEDIATE_DATA, |w| jump(w, chain));
        });
    }

    pub(crate) fn accept(&mut self) {
        self.verdict(VERDICT_ACCEPT);
    }

    pub(crate) fn refuse(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Drop => self.verdict(VERDICT_DROP),
            Verdict::Reject => self.expression("reject", |w| {
                w.be32(REJECT_TYPE, REJECT_ICMPX);
                w.bytes(REJECT_CODE, &[ICMPX_PORT_UNREACH]);
            }),
        }
    }

    fn verdict(&mut self, code: u32) {
        self.expression("immediate", |w| {
            w.be32(IMMEDIATE_DREG, REG_VERDICT);
            w.nest(IMMEDIATE_DATA, |w| w.nest(DATA_VERDICT, |w| w.be32(VERDICT_CODE, code)));
        });
    }
}
