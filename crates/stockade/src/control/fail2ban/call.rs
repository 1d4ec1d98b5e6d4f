//! `set JAIL action ACTION METHOD [JSON]`: what an action can be told to do by itself.
//!
//! Source: fail2ban `server/transmitter.py` and the methods of `server/action.py`: their arguments, what they
//! return and how they fail. The runner carries them out in the action's own lane; nobody else waits for it.
//! DIVERGENCE (protocol-text-methods): methods that only change texts inside the original are refused.

use serde_json::{Map, Value as Json};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::runner::{Values, Verb};
use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::Answer;
use super::change::{change, may_change_actions};
use crate::daemon::actions::Call;
use crate::daemon::operator::Operator;
use crate::settings::{ActionSettings, METHODS, words};

/// Takes the answer, now or when the commands have run.
type Done = Box<dyn FnOnce(Answer) + Send>;

/// Is it a call of a method?
pub(in crate::control) fn is_call(command: &[Value]) -> bool {
    let word = |n: usize| command.get(n).map(words).unwrap_or_default();
    word(0) == "set" && word(2) == "action" && METHODS.contains(&word(4).as_str())
}

/// Runs the method; `done` gets what it returns.
pub(in crate::control) fn call(operator: &mut Operator, command: &[Value], done: Done) {
    match prepared(operator, command) {
        Ok(Prepared::Answer(value)) => done(Ok(value)),
        Ok(Prepared::Run { call, kind, who }) => {
            let shown = move |result: Result<(), String>| kind.answer(result, who.as_deref());
            operator.actions.call(*call, Box::new(move |result| done(shown(result))));
        }
        Err(exception) => done(Err(exception)),
    }
}

enum Prepared {
    /// There is nothing to run.
    Answer(Value),
    /// The runner has to do it.
    Run { call: Box<Call>, kind: Kind, who: Option<String> },
}

/// What a method returns.
#[derive(Clone, Copy)]
enum Kind {
    /// `None`; its failure is about somebody.
    AboutSomebody,
    /// `True`; its failure is an exception.
    True,
    /// Whether it went well.
    Whether,
}

impl Kind {
    fn answer(self, result: Result<(), String>, who: Option<&str>) -> Answer {
        match (self, result) {
            (Kind::AboutSomebody, Ok(())) => Ok(Value::None),
            // The original names the address of whom it failed for, and there is none.
            (Kind::AboutSomebody, Err(_)) if who.is_none() => Err(Exception::builtin("KeyError", "ip")),
            (Kind::Whether, result) => Ok(Value::Bool(result.is_ok())),
            (_, Ok(())) => Ok(Value::Bool(true)),
            (_, Err(why)) => Err(Exception::builtin("RuntimeError", why)),
        }
    }
}

fn prepared(operator: &mut Operator, command: &[Value]) -> Result<Prepared, Exception> {
    let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
    may_change_actions(operator)?;
    let (jail, name, method) = (word(1)?, word(3)?, word(4)?);
    let action = operator.settings().known(&jail)?.action(&name)?;
    let spec = action.spec(&jail);
    let arguments = Arguments::read(&method, command.get(5))?;
    let run = |verb: Verb, kind: Kind, values: Values, who: Option<String>| {
        Ok(Prepared::Run { call: Box::new(Call { spec: spec.clone(), verb, values, apart: false }), kind, who })
    };
    let plain = |verb: Verb| {
        arguments.only(&[])?;
        run(verb, Kind::True, Values::default(), None)
    };
    if action.python.is_some() {
        return Err(refused(action, &method, "it is written in Python"));
    }
    match method.as_str() {
        "start" => {
            arguments.only(&[])?;
            let mut again = Values::default();
            again.tag("again", "1");
            run(Verb::Start, Kind::True, again, None)
        }
        "stop" => plain(Verb::Stop),
        "flush" => plain(Verb::Flush),
        "consistencyCheck" => plain(Verb::Check),
        "reload" => run(Verb::Renew { spec: spec.clone(), reload: true }, Kind::True, Values::default(), None),
        "ban" | "unban" | "reban" | "prolong" => {
            let (values, who) = arguments.about()?;
            let verb = match method.as_str() {
                "ban" => Verb::Ban,
                "unban" => Verb::Unban,
                "reban" => Verb::Reban,
                _ => Verb::Prolong,
            };
            run(verb, Kind::AboutSomebody, values, who)
        }
        "executeCmd" => {
            let call = Call { spec: arguments.script(&spec)?, verb: Verb::Ask, values: Values::default(), apart: true };
            Ok(Prepared::Run { call: Box::new(call), kind: Kind::Whether, who: None })
        }
        "invalidateBanEpoch" => arguments.only(&[]).map(|()| Prepared::Answer(Value::None)),
        "clearAllParams" => {
            arguments.only(&[])?;
            let pair = |name: &str| Value::List(vec![name.into(), "".into()]);
            let none = Value::List(ActionSettings::COMMANDS.into_iter().map(pair).collect());
            let words = ["multi-set", &jail, "action", &name].map(Value::from);
            change(operator, &[&words[..], &[none]].concat())?;
            Ok(Prepared::Answer(Value::None))
        }
        _ => Err(refused(action, &method, "it only changes a text inside the original")),
    }
}

fn refused(action: &ActionSettings, method: &str, why: &str) -> Exception {
    let text = format!("'{method}' of action '{}' can't be called: {why}", action.name);
    Exception::builtin("NotImplementedError", text)
}

/// The arguments of a method by name, as JSON.
struct Arguments<'a> {
    method: &'a str,
    given: Map<String, Json>,
}

impl<'a> Arguments<'a> {
    fn read(method: &'a str, text: Option<&Value>) -> Result<Arguments<'a>, Exception> {
        let Some(text) = text.map(words) else { return Ok(Arguments { method, given: Map::new() }) };
        let kind = match serde_json::from_str::<Json>(&text) {
            Ok(Json::Object(given)) => return Ok(Arguments { method, given }),
            Ok(Json::Null) => "NoneType",
            Ok(Json::Bool(_)) => "bool",
            Ok(Json::Number(number)) if number.is_f64() => "float",
            Ok(Json::Number(_)) => "int",
            Ok(Json::String(_)) => "str",
            Ok(Json::Array(_)) => "list",
            Err(e) => return Err(Exception::value(format!("the arguments of {method} are not JSON: {e}"))),
        };
        let call = format!("fail2ban.server.action.CommandAction.{method}()");
        let text = format!("{call} argument after ** must be a mapping, not {kind}");
        Err(Exception::builtin("TypeError", text))
    }

    /// Refuses every name but these.
    fn only(&self, names: &[&str]) -> Result<(), Exception> {
        match self.given.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(self.type_error(&format!("got an unexpected keyword argument '{name}'"))),
            None => Ok(()),
        }
    }

    fn wanted(&self, name: &str) -> Result<&Json, Exception> {
        let missing = || self.type_error(&format!("missing 1 required positional argument: '{name}'"));
        self.given.get(name).ok_or_else(missing)
    }

    fn type_error(&self, what: &str) -> Exception {
        Exception::builtin("TypeError", format!("CommandAction.{}() {what}", self.method))
    }

    /// `aInfo`: the tags' values, and whom it is about.
    fn about(&self) -> Result<(Values, Option<String>), Exception> {
        self.only(&["aInfo"])?;
        let info = self.wanted("aInfo")?;
        let Json::Object(info) = info else {
            let kind = if info.is_i64() {
                "int"
            } else if info.is_string() {
                "str"
            } else {
                "object"
            };
            return Err(Exception::builtin("AttributeError", format!("'{kind}' object has no attribute 'get'")));
        };
        let mut values = Values::default();
        for (name, value) in info {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match name.strip_prefix("F-") {
                Some(group) => values.group(&group.to_ascii_lowercase(), value),
                None => values.tag(name, value),
            }
        }
        let who = values.get("ip").map(str::to_owned);
        Ok((values, who))
    }

    /// `realCmd` with its `timeout` and `varsDict`, as a command of its own.
    fn script(&self, of: &ActionSpec) -> Result<ActionSpec, Exception> {
        let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut script = String::new();
        for (name, value) in self.given.get("varsDict").and_then(Json::as_object).into_iter().flatten() {
            if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            {
                return Err(Exception::value(format!("'{name}' in varsDict is no name of a variable")));
            }
            script += &format!("export {name}='{}'\n", text(value).replace('\'', r"'\''"));
        }
        script += &text(self.wanted("realCmd")?);
        let mut properties = vec![("ignorecommand".to_owned(), script)];
        properties.extend(self.given.get("timeout").map(|secs| ("timeout".to_owned(), text(secs))));
        Ok(ActionSpec { properties, python: None, ..of.clone() })
    }
}
