//! `import`: bans that come as JSON rows from our own client.

use serde_json::{Value, json};
use stockade_core::judge::{Command, Imported, Outcome, StoredBan, StoredTime};
use stockade_core::{BanTime, FailureId, GroupValue, JailName, Timestamp};

use crate::daemon::operator::Operator;

/// Takes over the rows of one request, or none of them if one is no ban.
pub(super) fn import(operator: &mut Operator, rows: &[Value]) -> Result<Value, String> {
    let bans = rows.iter().map(ban).collect::<Result<Vec<_>, _>>()?;
    let Outcome::Imported(Imported { new, already, over, withheld, unknown }) =
        operator.command(Command::Import { bans })?
    else {
        return Err("the bans were not taken over".to_owned());
    };
    let unknown: serde_json::Map<String, Value> =
        unknown.into_iter().map(|(jail, count)| (jail.to_string(), json!(count))).collect();
    Ok(json!({ "new": new, "already": already, "over": over, "withheld": withheld, "unknown": unknown }))
}

/// One row: `{"jail", "id", "time", "bantime", ...}`; times in seconds, `bantime`
/// -1 for ever, `null` as the jail has it.
fn ban(row: &Value) -> Result<StoredBan, String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let number = |name: &str| row.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let missing = |what: &str| format!("a ban without {what}: {row}");
    let id = text("id").filter(|id| !id.is_empty()).ok_or_else(|| missing("id"))?;
    let start = row.get("time").and_then(Value::as_f64).ok_or_else(|| missing("time"))?;
    let bantime = match row.get("bantime") {
        None | Some(Value::Null) => StoredTime::Unknown,
        Some(secs) => StoredTime::Known(BanTime::from_secs_f64(secs.as_f64().ok_or_else(|| missing("bantime"))?)),
    };
    let strings = |value: &Value| -> Vec<Box<str>> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
    };
    let groups = row.get("groups").and_then(Value::as_object).into_iter().flatten();
    let groups = groups.map(|(name, value)| {
        let value = match value {
            Value::String(text) => GroupValue::Text(text.as_str().into()),
            Value::Array(_) => GroupValue::List(strings(value)),
            other => GroupValue::Text(other.to_string().into()),
        };
        (name.as_str().into(), value)
    });
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by(|a: &(std::sync::Arc<str>, GroupValue), b| a.0.cmp(&b.0));
    Ok(StoredBan {
        jail: JailName::new(text("jail").ok_or_else(|| missing("jail"))?),
        id: FailureId::parse(id),
        ip: text("ip").and_then(|ip| FailureId::parse(ip).net()),
        start: Timestamp::from_secs_f64(start),
        bantime,
        count: number("count").unwrap_or(1).max(1),
        failures: number("failures").unwrap_or(0),
        matches: row.get("matches").map(strings).unwrap_or_default(),
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_ban_and_what_is_none_is_refused() {
        let row = json!({ "jail": "sshd", "id": "192.0.2.1", "time": 5.5, "bantime": -1, "count": 3,
            "groups": { "user": "x", "list": ["a", "b"] }, "ip": null });
        let ban = ban(&row).unwrap();
        assert_eq!((ban.count, ban.bantime), (3, StoredTime::Known(BanTime::Permanent)));
        assert_eq!(ban.groups.len(), 2);
        for wrong in [json!({}), json!({ "jail": "sshd", "id": "192.0.2.1" }), json!({ "jail": "sshd", "time": 1 })] {
            assert!(super::ban(&wrong).is_err(), "{wrong}");
        }
    }
}
