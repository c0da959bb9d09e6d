//! Reading a configuration from a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use xronox_model::json;
use xronox_store::Secret;

use super::{
    Config, Problem, Problems,
    check::{Named, check},
    problem::Trail,
    shape::{Found, shape},
    tokens,
};
use crate::{Error, ErrorKind};

/// The names of files that are looked for, the first one first.
const NAMES: [&str; 2] = ["xronox.config.json", ".xronox.json"];

/// The key under which a whole file may stand.
const SECTION: &str = "xronox";

/// Reads configurations; [`Config::load`] and its like are this with the
/// variables of the process.
///
/// ```
/// use xronox::ConfigLoader;
///
/// let loader = ConfigLoader::new().variables(|name| {
///     (name == "MONGO_URI").then(|| "mongodb://localhost:27017".to_owned())
/// });
/// let config = loader.from_json(r#"
///     { "xronox": { "dbConnections": { "main": { "mongoUri": "ENV.MONGO_URI" } } } }
/// "#)?;
/// assert_eq!(config.db_connections["main"].mongo_uri.reveal(), "mongodb://localhost:27017");
/// # Ok::<(), xronox::Error>(())
/// ```
pub struct ConfigLoader<'a> {
    variables: Box<tokens::Lookup<'a>>,
}

impl Default for ConfigLoader<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ConfigLoader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigLoader").finish_non_exhaustive()
    }
}

impl<'a> ConfigLoader<'a> {
    /// With the variables of the process.
    pub fn new() -> Self {
        Self {
            variables: Box::new(|name| std::env::var(name).ok()),
        }
    }

    /// With these variables instead.
    pub fn variables(mut self, lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        self.variables = Box::new(lookup);
        self
    }

    /// As [`Config::from_json`].
    ///
    /// # Errors
    ///
    /// As [`Config::from_json`].
    pub fn from_json(&self, text: &str) -> Result<Config, Error> {
        let value = json_value(text.as_bytes()).map_err(|why| unreadable(None, &why))?;
        self.read(value, None)
    }

    /// As [`Config::from_value`].
    ///
    /// # Errors
    ///
    /// As [`Config::from_value`].
    pub fn from_value(&self, value: Value) -> Result<Config, Error> {
        self.read(value, None)
    }

    /// As [`Config::load`].
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Config, Error> {
        let path = path.as_ref();
        let text = fs::read(path).map_err(|error| out_of_reach(path, &error))?;
        let value = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => toml_value(&text),
            Some("yaml" | "yml") => yaml_value(&text),
            Some("json") => json_value(&text),
            _ => Err("a configuration file ends with .json, .toml, .yaml or .yml".to_owned()),
        };
        let value = value.map_err(|why| unreadable(Some(path), &why))?;
        let mut config = self.read(value, Some(path))?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        config.move_to(folder.unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// As [`Config::discover`].
    ///
    /// # Errors
    ///
    /// As [`Config::discover`].
    pub fn discover(&self, start: impl AsRef<Path>) -> Result<Option<(PathBuf, Config)>, Error> {
        let start = start.as_ref();
        let whole = std::path::absolute(start).map_err(|error| out_of_reach(start, &error))?;
        for folder in whole.ancestors() {
            for name in NAMES {
                let file = folder.join(name);
                if file.is_file() {
                    let config = self.load(&file)?;
                    return Ok(Some((file, config)));
                }
            }
            if folder.join(".git").exists() {
                break;
            }
        }
        Ok(None)
    }

    fn read(&self, value: Value, file: Option<&Path>) -> Result<Config, Error> {
        let (config, problems) = self.checked(value);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems::of(file.map(Path::to_owned), problems).into()),
        }
    }

    /// The configuration, and everything that is wrong with it.
    fn checked(&self, value: Value) -> (Option<Config>, Found) {
        let root = Trail::default();
        let (mut value, mut problems, section) = section(value);
        let written = KEYS.map(|key| at(&value, key).and_then(Value::as_str).map(str::to_owned));
        let (found, missing) = tokens::resolve(&mut value, &*self.variables);
        problems.extend(missing);
        for (key, text) in KEYS.into_iter().zip(written) {
            let given = |text: &String| text.starts_with("ENV.") || text.starts_with("file:");
            if text.as_ref().is_some_and(|text| !given(text)) {
                let trail = root.keys(key);
                let why = "ENV.NAME or file:PATH; a key does not stand in a file";
                let problem = Problem::new(&trail, why).found(super::mask::MASKED);
                problems.push((trail, problem));
            }
        }
        let named = Named::in_file(&value);
        let mut shaped = shape(value, &found);
        problems.append(&mut shaped.problems);
        let left = std::mem::take(&mut shaped.value);
        let Ok(config) = serde_json::from_value::<Config>(left) else {
            // The schema is made from the same types, so this is a fault of
            // ours. The error may quote what it found.
            if problems.is_empty() {
                let problem = Problem::new(&root, "cannot be read, though its shape is right");
                problems.push((root, problem));
            }
            return (None, located(problems, section));
        };
        for (trail, mut problem) in check(&config, &named) {
            let trail = shaped.original(&trail);
            // What stands beside something that is wrong may only seem so.
            if problems.iter().any(|(other, _)| other.meets(&trail)) {
                continue;
            }
            problem.path = trail.to_string();
            if let Some(token) = found.get(&trail)
                && problem.found.is_some()
            {
                problem.found = Some(format!("the value of {token}"));
            }
            problems.push((trail, problem));
        }
        (Some(config), located(problems, section))
    }
}

/// Keys that hold keys.
const KEYS: [&str; 2] = ["encryption.masterKey", "signing.key"];

fn at<'v>(value: &'v Value, keys: &str) -> Option<&'v Value> {
    keys.split('.').try_fold(value, |value, key| value.get(key))
}

/// What stands under `xronox`, or the whole.
fn section(mut value: Value) -> (Value, Found, bool) {
    let mut problems = Vec::new();
    let Value::Object(object) = &mut value else {
        return (value, problems, false);
    };
    object.remove("$schema");
    let Some(inner) = object.remove(SECTION) else {
        return (value, problems, false);
    };
    for key in object.keys() {
        let trail = Trail::default().key(key);
        let problem = Problem::new(&trail, "stands beside `xronox`, under which all has to be");
        problems.push((trail, problem));
    }
    (inner, problems, true)
}

/// The problems in the order of their places, with `xronox` in front where
/// everything stands under it.
fn located(mut problems: Found, section: bool) -> Found {
    if section {
        for (trail, problem) in &mut problems {
            if !problem.expected.starts_with("stands beside `xronox`") {
                *trail = Trail::default().key(SECTION).join(trail);
                problem.path = trail.to_string();
            }
        }
    }
    problems.sort_by(|(one, _), (other, _)| one.cmp(other));
    problems
}

impl Named {
    /// Names that stand in a file, whatever they name.
    fn in_file(value: &Value) -> Self {
        let keys = |table: &str| {
            let table = value.get(table).and_then(Value::as_object);
            table.into_iter().flat_map(Map::keys).cloned().collect()
        };
        Self {
            db_connections: keys("dbConnections"),
            spaces_connections: keys("spacesConnections"),
        }
    }
}

impl Problems {
    pub(super) fn of(file: Option<PathBuf>, problems: Found) -> Self {
        Self {
            file,
            all: problems.into_iter().map(|(_, problem)| problem).collect(),
        }
    }
}

fn unreadable(file: Option<&Path>, why: &str) -> Error {
    let problem = Problem::new(&Trail::default(), why);
    Problems::of(file.map(Path::to_owned), vec![(Trail::default(), problem)]).into()
}

fn out_of_reach(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{}: {error}", path.display()))
}

fn json_value(text: &[u8]) -> Result<Value, String> {
    json::parse(text).map_err(|error| error.to_string())
}

fn utf8(text: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(text).map_err(|_| "the text is not UTF-8".to_owned())
}

/// Errors say where, without the text that stands there.
fn toml_value(text: &[u8]) -> Result<Value, String> {
    let text = utf8(text)?;
    toml::from_str(text).map_err(|error| {
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        format!("line {line}, column {column}: this is no TOML")
    })
}

/// Errors say where, without the text that stands there.
fn yaml_value(text: &[u8]) -> Result<Value, String> {
    serde_saphyr::from_str(utf8(text)?).map_err(|error| match error.location() {
        Some(at) => format!(
            "line {}, column {}: this is no YAML",
            at.line(),
            at.column()
        ),
        None => "this is no YAML".to_owned(),
    })
}

impl Config {
    /// Reads a configuration from JSON text. Relative paths in it are taken
    /// from the working directory.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) with [all problems](Error::problems).
    pub fn from_json(text: &str) -> Result<Self, Error> {
        ConfigLoader::new().from_json(text)
    }

    /// Reads a configuration from a JSON value. Relative paths in it are taken
    /// from the working directory.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) with [all problems](Error::problems).
    pub fn from_value(value: Value) -> Result<Self, Error> {
        ConfigLoader::new().from_value(value)
    }

    /// Reads a file: `.json`, `.toml`, `.yaml` or `.yml`. All of it may stand
    /// under the key `xronox`. Relative paths in it are taken from its folder.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if it cannot be read, and with [all
    /// problems](Error::problems) if something in it is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        ConfigLoader::new().load(path)
    }

    /// Looks for `xronox.config.json`, then `.xronox.json`, in a folder and
    /// those above it, up to the one with `.git` in it or the root of the file
    /// system. Loads the first that is there.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn discover(start: impl AsRef<Path>) -> Result<Option<(PathBuf, Self)>, Error> {
        ConfigLoader::new().discover(start)
    }

    /// Takes relative paths from a folder.
    fn move_to(&mut self, folder: &Path) {
        let moved = |path: &str| {
            let path = Path::new(path);
            if path.is_absolute() {
                return path.to_str().map(str::to_owned);
            }
            let rest = path.strip_prefix(".").unwrap_or(path);
            folder.join(rest).to_str().map(str::to_owned)
        };
        let place = |text: &str| {
            let (scheme, path) = text.split_once(':')?;
            matches!(scheme, "sqlite" | "file").then_some(())?;
            let path = path
                .strip_prefix("//")
                .filter(|_| scheme == "file")
                .unwrap_or(path);
            (!path.is_empty()).then_some(())?;
            Some(format!("{scheme}:{}", moved(path)?))
        };
        for connection in self.db_connections.values_mut() {
            if let Some(uri) = place(connection.mongo_uri.reveal()) {
                connection.mongo_uri = Secret::new(uri);
            }
        }
        for space in self.spaces_connections.values_mut() {
            if let Some(endpoint) = place(&space.endpoint) {
                space.endpoint = endpoint;
            }
        }
        if let Some(path) = moved(&self.local_storage.base_path) {
            self.local_storage.base_path = path;
        }
        let settings = &mut self.settings;
        if let Some(path) = settings.fallback.local_queue.as_deref().and_then(moved) {
            settings.fallback.local_queue = Some(path);
        }
        for key in [
            &mut settings.encryption.master_key,
            &mut settings.signing.key,
        ] {
            if let Some(file) = key.as_ref().and_then(|key| place(key.reveal())) {
                *key = Some(Secret::new(file));
            }
        }
    }
}
