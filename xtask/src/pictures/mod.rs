//! `cargo xtask pictures`: pictures of the terminal, made from the real program, kept in `docs/pictures`.
//!
//! A machine of its own over a Debian root (`scene.sh`) runs a daemon that has banned; each command is typed
//! into a terminal of 80x24 and of 200x60, and what stands there then is drawn as SVG, light and dark.

mod draw;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{roots, steps};

/// Where they are kept.
const FOLDER: &str = "docs/pictures";

/// Makes all pictures anew, with a program that was built already or with one that is built now.
///
/// # Errors
/// When tmux is missing, the machine can't be made, or a command does not come to its end.
pub(crate) fn run(program: Option<&str>) -> Result<bool> {
    let has_tmux = Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success());
    ensure!(has_tmux, "tmux is missing: apt-get install tmux");
    let program = match program {
        Some(program) => PathBuf::from(program),
        None => {
            let minutes = Duration::from_secs(1_800);
            let built = steps::run("build", &mut steps::cargo(&["build", "--release"]), minutes, steps::say)?;
            ensure!(built, "the program can't be built");
            steps::top().join("target/release/stockade")
        }
    };
    // One that is there already will do; it is only read.
    let root = match std::env::var_os("STOCKADE_F2B_ROOT_110") {
        Some(root) => PathBuf::from(root),
        None => roots::ensure()?.first().context("a Debian root")?.1.clone(),
    };
    let place = steps::top().join("target/pictures");
    let (machine, shown) = (place.join("machine"), place.join("shown"));
    for folder in [&machine, &shown] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut scene = Command::new("unshare");
    scene.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c"]);
    scene.arg(include_str!("scene.sh")).arg("scene.sh").arg(root).arg(&machine).arg(program).arg(&shown);
    ensure!(steps::run("the scene", &mut scene, Duration::from_secs(600), steps::say)?, "the scene failed");
    draw_all(&shown, &steps::top().join(FOLDER))?;
    Ok(true)
}

fn draw_all(shown: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut count = 0;
    for entry in fs::read_dir(shown)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ansi")) else { continue };
        let columns = name.rsplit('-').next().and_then(|size| size.split('x').next()?.parse().ok());
        let columns = columns.with_context(|| format!("{name} has no size in its name"))?;
        let text = steps::read(&path)?;
        for scheme in [draw::LIGHT, draw::DARK] {
            fs::write(folder.join(format!("{name}-{}.svg", scheme.name)), draw::svg(&text, columns, &scheme))?;
            count += 1;
        }
    }
    steps::say(&format!("{count} pictures in {}", folder.display()));
    Ok(())
}
