//! Numbers of the kernel's nf_tables interface.
//!
//! Source: Linux `include/uapi/linux/netfilter/nfnetlink.h` and `nf_tables.h`.

pub(crate) const SUBSYSTEM: u16 = 10;
pub(crate) const BATCH_BEGIN: u16 = 0x10;
pub(crate) const BATCH_END: u16 = 0x11;
/// Multicast group of changes, as a bind mask (group 7).
pub(crate) const GROUP_MASK: u32 = 1 << 6;

pub(crate) const NEWTABLE: u16 = 0;
pub(crate) const GETTABLE: u16 = 1;
pub(crate) const DELTABLE: u16 = 2;
pub(crate) const NEWCHAIN: u16 = 3;
pub(crate) const GETCHAIN: u16 = 4;
pub(crate) const DELCHAIN: u16 = 5;
pub(crate) const NEWRULE: u16 = 6;
pub(crate) const GETRULE: u16 = 7;
pub(crate) const DELRULE: u16 = 8;
pub(crate) const NEWSET: u16 = 9;
pub(crate) const GETSET: u16 = 10;
pub(crate) const DELSET: u16 = 11;
pub(crate) const NEWSETELEM: u16 = 12;
pub(crate) const GETSETELEM: u16 = 13;
pub(crate) const DELSETELEM: u16 = 14;
pub(crate) const NEWGEN: u16 = 15;
pub(crate) const NEWOBJ: u16 = 18;
pub(crate) const GETOBJ: u16 = 19;
pub(crate) const DELOBJ: u16 = 20;
pub(crate) const DESTROYTABLE: u16 = 26;
pub(crate) const DESTROYSETELEM: u16 = 30;

pub(crate) const PROTO_INET: u8 = 1;
pub(crate) const PROTO_IPV4: u8 = 2;
pub(crate) const PROTO_IPV6: u8 = 10;

pub(crate) const TABLE_NAME: u16 = 1;
pub(crate) const TABLE_FLAGS: u16 = 2;
pub(crate) const TABLE_OWNER: u16 = 7;
pub(crate) const TABLE_F_OWNER: u32 = 2;
pub(crate) const TABLE_F_PERSIST: u32 = 4;

pub(crate) const CHAIN_TABLE: u16 = 1;
pub(crate) const CHAIN_NAME: u16 = 3;
pub(crate) const CHAIN_HOOK: u16 = 4;
pub(crate) const CHAIN_POLICY: u16 = 5;
pub(crate) const CHAIN_TYPE: u16 = 7;
pub(crate) const HOOK_NUM: u16 = 1;
pub(crate) const HOOK_PRIORITY: u16 = 2;
pub(crate) const HOOK_PREROUTING: u32 = 0;
pub(crate) const HOOK_INPUT: u32 = 1;
pub(crate) const HOOK_FORWARD: u32 = 2;

pub(crate) const RULE_TABLE: u16 = 1;
pub(crate) const RULE_CHAIN: u16 = 2;
pub(crate) const RULE_HANDLE: u16 = 3;
pub(crate) const RULE_EXPRESSIONS: u16 = 4;
pub(crate) const LIST_ELEM: u16 = 1;
pub(crate) const EXPR_NAME: u16 = 1;
pub(crate) const EXPR_DATA: u16 = 2;

pub(crate) const SET_TABLE: u16 = 1;
pub(crate) const SET_NAME: u16 = 2;
pub(crate) const SET_FLAGS: u16 = 3;
pub(crate) const SET_KEY_TYPE: u16 = 4;
pub(crate) const SET_KEY_LEN: u16 = 5;
pub(crate) const SET_DATA_TYPE: u16 = 6;
pub(crate) const SET_DATA_LEN: u16 = 7;
pub(crate) const SET_DESC: u16 = 9;
pub(crate) const SET_DESC_SIZE: u16 = 1;
pub(crate) const SET_ID: u16 = 10;
pub(crate) const SET_GC_INTERVAL: u16 = 12;
pub(crate) const SET_F_ANONYMOUS: u32 = 0x1;
pub(crate) const SET_F_INTERVAL: u32 = 0x4;
pub(crate) const SET_F_MAP: u32 = 0x8;
pub(crate) const SET_F_TIMEOUT: u32 = 0x10;
pub(crate) const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
/// Numbers by which the `nft` tool knows the type of a key; the kernel only keeps them.
pub(crate) const KEY_IPV4: u32 = 7;
pub(crate) const KEY_IPV6: u32 = 8;
pub(crate) const KEY_SERVICE: u32 = 13;

pub(crate) const ELEMS_TABLE: u16 = 1;
pub(crate) const ELEMS_SET: u16 = 2;
pub(crate) const ELEMS_ELEMENTS: u16 = 3;
pub(crate) const ELEM_KEY: u16 = 1;
pub(crate) const ELEM_DATA: u16 = 2;
pub(crate) const ELEM_FLAGS: u16 = 3;
pub(crate) const ELEM_TIMEOUT: u16 = 4;
pub(crate) const ELEM_F_INTERVAL_END: u32 = 1;
pub(crate) const DATA_VALUE: u16 = 1;
pub(crate) const DATA_VERDICT: u16 = 2;
pub(crate) const VERDICT_CODE: u16 = 1;
pub(crate) const VERDICT_CHAIN: u16 = 2;
pub(crate) const VERDICT_DROP: u32 = 0;
pub(crate) const VERDICT_ACCEPT: u32 = 1;
pub(crate) const VERDICT_JUMP: u32 = (-3i32).cast_unsigned();

pub(crate) const REG_VERDICT: u32 = 0;
pub(crate) const REG_1: u32 = 1;
pub(crate) const META_DREG: u16 = 1;
pub(crate) const META_KEY: u16 = 2;
pub(crate) const META_IIF: u32 = 4;
pub(crate) const META_NFPROTO: u32 = 15;
pub(crate) const META_L4PROTO: u32 = 16;
pub(crate) const PAYLOAD_DREG: u16 = 1;
pub(crate) const PAYLOAD_BASE: u16 = 2;
pub(crate) const PAYLOAD_OFFSET: u16 = 3;
pub(crate) const PAYLOAD_LEN: u16 = 4;
pub(crate) const BASE_NETWORK: u32 = 1;
pub(crate) const BASE_TRANSPORT: u32 = 2;
pub(crate) const CMP_SREG: u16 = 1;
pub(crate) const CMP_OP: u16 = 2;
pub(crate) const CMP_DATA: u16 = 3;
pub(crate) const BITWISE_SREG: u16 = 1;
pub(crate) const BITWISE_DREG: u16 = 2;
pub(crate) const BITWISE_LEN: u16 = 3;
pub(crate) const BITWISE_MASK: u16 = 4;
pub(crate) const BITWISE_XOR: u16 = 5;
pub(crate) const LOOKUP_SET: u16 = 1;
pub(crate) const LOOKUP_SREG: u16 = 2;
pub(crate) const LOOKUP_DREG: u16 = 3;
pub(crate) const IMMEDIATE_DREG: u16 = 1;
pub(crate) const IMMEDIATE_DATA: u16 = 2;
pub(crate) const REJECT_TYPE: u16 = 1;
pub(crate) const REJECT_CODE: u16 = 2;
pub(crate) const REJECT_ICMPX: u32 = 2;
pub(crate) const ICMPX_PORT_UNREACH: u8 = 1;
pub(crate) const OBJREF_TYPE: u16 = 1;
pub(crate) const OBJREF_NAME: u16 = 2;

pub(crate) const OBJ_TABLE: u16 = 1;
pub(crate) const OBJ_NAME: u16 = 2;
pub(crate) const OBJ_TYPE: u16 = 3;
pub(crate) const OBJ_DATA: u16 = 4;
pub(crate) const OBJ_COUNTER: u32 = 1;
pub(crate) const COUNTER_BYTES: u16 = 1;
pub(crate) const COUNTER_PACKETS: u16 = 2;
pub(crate) const GEN_PROC_PID: u16 = 2;
pub(crate) const GEN_PROC_NAME: u16 = 3;
