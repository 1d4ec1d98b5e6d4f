//! What the client reads of a configuration tree.

use stockade_config::{
    CompileCheck, DaemonOptions, Diagnostic, LoadOptions, Loaded, Overrides, Profile, Severity, TreeSource,
};
use stockade_core::matcher::Calendar;
use stockade_wire::Command;
use stockade_wire::value::repr_str;

use super::options::Options;
use super::voice::{Level, Voice};

/// Where the server is, and how it logs.
///
/// # Errors
/// Why that can't be said; for standard output.
pub(super) fn places(options: &Options) -> Result<DaemonOptions, String> {
    let given = &options.given;
    let all = [&given.socket, &given.pidfile, &given.loglevel, &given.logtarget, &given.syslogsocket];
    let source = if all.iter().all(|given| given.is_some()) {
        // Nothing of the tree is needed.
        TreeSource::Embedded
    } else {
        source(options)?
    };
    let (daemon, findings) = stockade_config::load_daemon_options(&source, given);
    match findings.iter().find(|f| f.severity == Severity::Error) {
        Some(finding) if daemon.socket.is_empty() => Err(in_words(finding)),
        _ => Ok(daemon),
    }
}

/// The tree that is meant.
fn source(options: &Options) -> Result<TreeSource, String> {
    let folder = &options.conf;
    if !folder.is_dir() {
        return Err(format!("Base configuration directory {} does not exist; name another with -c", folder.display()));
    }
    Ok(TreeSource::of_folder(folder))
}

/// What a tree is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be printed: nothing but the reading has to work.
    Show,
    /// To be tested: no jail may be broken.
    Test,
    /// To be sent: at least one jail has to be left.
    Run,
}

/// A tree that was read.
pub(super) struct Read {
    /// The commands that any server knows.
    pub(super) stream: Vec<Command>,
    /// Was it read at all?
    pub(super) whole: bool,
    /// Is it good for its purpose?
    pub(super) good: bool,
}

/// Reads the tree, or one jail of it, and says what is wrong.
pub(super) fn read(
    options: &Options,
    places: &DaemonOptions,
    jail: Option<&str>,
    purpose: Purpose,
    voice: Voice,
) -> Read {
    let nothing = Read { stream: Vec::new(), whole: false, good: false };
    let source = match source(options) {
        Ok(source) => source,
        Err(why) => {
            voice.say(Level::Error, format!("Failed during configuration: {why}"));
            return nothing;
        }
    };
    let checker = CompileCheck::new(Calendar::new(jiff::tz::TimeZone::UTC, jiff::Zoned::now().year()));
    let given = Overrides {
        socket: Some(places.socket.clone()),
        pidfile: Some(places.pidfile.clone()),
        loglevel: Some(places.loglevel.clone()),
        logtarget: Some(places.logtarget.clone()),
        syslogsocket: Some(places.syslogsocket.clone()),
    };
    let loaded = stockade_config::load(
        &source,
        &LoadOptions {
            profile: Some(Profile::DropIn),
            only: jail,
            journal: stockade_config::journal_is_there(),
            overrides: Some(&given),
            checker: if purpose == Purpose::Show { None } else { Some(&checker) },
            ..LoadOptions::default()
        },
    );
    let mut refusal = None;
    for finding in &loaded.diagnostics {
        if loaded.refused && finding.severity == Severity::Error && refusal.is_none() {
            refusal = Some(finding);
            let text = match jail.filter(|jail| finding.message == format!("there is no jail '{jail}'")) {
                Some(jail) => format!("No section: {}", repr_str(jail)),
                None => in_words(finding),
            };
            voice.say(Level::Error, format!("Failed during configuration: {text}"));
        // The last one only says that there were others.
        } else if !finding.message.starts_with("nothing of this configuration is used") {
            voice.line(level(finding), "fail2ban.configreader", &in_words(finding));
        }
    }
    if loaded.refused {
        return nothing;
    }
    let good = match purpose {
        Purpose::Show => loaded.is_startable(),
        Purpose::Run => loaded.is_startable() && !breaks_the_start(&loaded),
        Purpose::Test => loaded.passes_test() && !loaded.has_errors(),
    };
    Read { stream: loaded.original().cloned().collect(), whole: true, good }
}

/// Is there a mistake that the server would refuse the whole stream for? One in
/// a jail that is left out is none.
fn breaks_the_start(loaded: &Loaded) -> bool {
    let left_out = |finding: &Diagnostic| finding.jail.as_ref().is_some_and(|jail| loaded.skipped.contains(jail));
    loaded.diagnostics.iter().any(|finding| finding.severity == Severity::Error && !left_out(finding))
}

fn level(finding: &Diagnostic) -> Level {
    match finding.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        _ => Level::Info,
    }
}

/// A finding without its severity, which stands elsewhere in the line.
fn in_words(finding: &Diagnostic) -> String {
    let text = finding.to_string();
    text.strip_prefix(&format!("{}: ", finding.severity)).unwrap_or(&text).to_owned()
}
