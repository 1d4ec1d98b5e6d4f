//! The command line: one file per subcommand, one place for the words.

mod ban;
pub(crate) mod client;
mod completion;
mod demo;
mod doctor;
mod dump;
mod export;
mod fail2ban;
mod import;
mod lift;
mod logs;
mod regex;
mod run;
mod scan;
pub(crate) mod status;
mod takeover;
pub(crate) mod term;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use run::RunArgs;

/// What a command may end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Not found, or refused.
    Refused = 1,
    /// Wrong words.
    Usage = 2,
    /// No daemon to talk to.
    NoDaemon = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Guards a machine against those who keep trying: reads logs, counts
/// failures, bans addresses, and says why.
#[derive(Parser)]
#[command(name = "stockade", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 not found or refused, 2 wrong usage, 3 no daemon.\n\
    Start with `stockade run`, or see it work in ten seconds with `stockade demo`.")]
struct Cli {
    #[command(subcommand)]
    word: Word,
}

/// Where the daemon's tree is, and how to answer.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Configuration folder of the daemon meant [default: /etc/stockade over the embedded tree]
    #[arg(short = 'c', long = "conf", value_name = "DIR", global = true)]
    pub(crate) conf: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum Word {
    /// Run the daemon in the foreground
    #[command(after_help = run::EXAMPLES)]
    Run(RunArgs),
    /// Show how the daemon, or one jail, is doing
    #[command(after_help = status::STATUS_EXAMPLES)]
    Status(status::StatusArgs),
    /// List banned addresses
    #[command(after_help = status::BANNED_EXAMPLES)]
    Banned(status::BannedArgs),
    /// Ban addresses or networks
    #[command(after_help = ban::BAN_EXAMPLES)]
    Ban(ban::BanArgs),
    /// Lift bans and forget them
    #[command(after_help = ban::UNBAN_EXAMPLES)]
    Unban(ban::UnbanArgs),
    /// Never ban these addresses or networks; lifts their bans
    #[command(after_help = ban::ALLOW_EXAMPLES)]
    Allow(ban::AllowArgs),
    /// Take back `allow`
    #[command(after_help = ban::DISALLOW_EXAMPLES)]
    Disallow(ban::AllowArgs),
    /// Read the configuration again; on any error nothing changes
    #[command(after_help = run::RELOAD_EXAMPLES)]
    Reload(run::PlainArgs),
    /// Stop and start anew without a moment unprotected
    #[command(after_help = run::RESTART_EXAMPLES)]
    Restart(run::PlainArgs),
    /// Stop the daemon; bans stay in the kernel until they expire (in a fail2ban tree they are lifted)
    #[command(after_help = run::STOP_EXAMPLES)]
    Stop(run::StopArgs),
    /// Remove bans from the kernel even if the daemon is dead
    #[command(after_help = lift::EXAMPLES)]
    Lift(lift::LiftArgs),
    /// Explain why an address is banned, or is not
    #[command(after_help = why::EXAMPLES)]
    Why(why::WhyArgs),
    /// Find what is wrong with this machine's guard, and what to do
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Try a pattern or a filter on lines, and explain
    #[command(after_help = regex::EXAMPLES)]
    Regex(Box<regex::RegexArgs>),
    /// Find failures and bans in old logs
    #[command(after_help = scan::EXAMPLES)]
    Scan(Box<scan::ScanArgs>),
    /// Show what the configuration compiles to, and where each option comes from
    #[command(after_help = dump::EXAMPLES)]
    Dump(dump::DumpArgs),
    /// Write the bans for another host, for fail2ban, or as a list
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Take bans over from fail2ban's database, a list, or an export
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Change places with a running fail2ban, without a gap; and back
    #[command(after_help = takeover::EXAMPLES)]
    Takeover(takeover::TakeoverArgs),
    /// Watch a ban happen, in namespaces of its own; nothing outside is touched
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Print what a shell needs to complete these words
    #[command(after_help = completion::EXAMPLES)]
    Completion(completion::CompletionArgs),
    /// Carries out actions for the daemon that started it
    #[command(name = RUNNER_WORD, hide = true)]
    ActionRunner,
}

/// The hidden word by which the daemon starts the process that runs commands.
pub(crate) const RUNNER_WORD: &str = "action-runner";

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    if let Some(exit) = fail2ban::by_name() {
        return exit;
    }
    let json = wants_json();
    let cli = match Cli::try_parse_from(word_first(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) if json && error.use_stderr() => {
            let text = error.render().to_string();
            let text = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
            term::say(serde_json::json!({ "error": text.trim_start_matches("error: ") }).to_string());
            return Exit::Usage.into();
        }
        Err(error) => error.exit(),
    };
    let done = match cli.word {
        Word::Run(args) => run::run(&args),
        Word::Status(args) => status::status(&args),
        Word::Banned(args) => status::banned(&args),
        Word::Ban(args) => ban::ban(&args),
        Word::Unban(args) => ban::unban(&args),
        Word::Allow(args) => ban::allow(&args, true),
        Word::Disallow(args) => ban::allow(&args, false),
        Word::Reload(args) => run::reload(&args),
        Word::Restart(args) => run::restart(&args),
        Word::Stop(args) => run::stop(&args),
        Word::Lift(args) => lift::lift(&args),
        Word::Why(args) => why::why(&args),
        Word::Completion(args) => completion::completion(&args),
        Word::Doctor(args) => doctor::doctor(&args),
        Word::Regex(args) => regex::regex(&args),
        Word::Scan(args) => scan::scan(&args),
        Word::Dump(args) => dump::dump(&args),
        Word::Export(args) => export::export(&args),
        Word::Import(args) => import::import(&args),
        Word::Takeover(args) => takeover::takeover(&args),
        Word::Demo(args) => demo::demo(&args),
        Word::ActionRunner => run::runner(),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = if error.is::<client::NoDaemon>() {
                Exit::NoDaemon
            } else if error.is::<term::Usage>() {
                Exit::Usage
            } else {
                Exit::Refused
            };
            if json {
                term::say(serde_json::json!({ "error": format!("{error:#}") }).to_string());
            } else {
                term::complain(&error);
            }
            exit.into()
        }
    }
}

/// The words with `-c DIR` and `--json` behind the subcommand, where they may also be
/// written before it, as with the original's client.
fn word_first(mut words: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        at += match word {
            "-c" | "--conf" => 2,
            "--json" => 1,
            _ if word.starts_with("--conf=") => 1,
            _ => break,
        };
    }
    // Without a subcommand there is nothing to put them behind.
    if let Some(moved) = words.get_mut(1..=at) {
        moved.rotate_right(1);
    }
    words
}

/// Did they ask for JSON? Known before the words are understood, since what is
/// wrong with them is said in JSON, too.
fn wants_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_may_stand_before_the_subcommand() {
        let ordered = |line: &str| {
            let words = word_first(line.split(' ').map(OsString::from).collect());
            words.join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(ordered("stockade -c /etc/x status sshd"), "stockade status -c /etc/x sshd");
        assert_eq!(ordered("stockade --json --conf=/etc/x banned"), "stockade banned --json --conf=/etc/x");
        for as_it_is in ["stockade status -c /etc/x", "stockade", "stockade --version", "stockade -c", "stockade -c x"]
        {
            assert_eq!(ordered(as_it_is), as_it_is);
        }
        let cli = Cli::try_parse_from(word_first(["stockade", "-c", "/etc/x", "status"].map(OsString::from).into()));
        assert!(matches!(cli.unwrap().word, Word::Status(_)));
    }
}
