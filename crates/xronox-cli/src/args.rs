//! The command line: help, completions and documentation are made from it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use xronox::{EntityMapping, Moment, Path, Timeframe, Timestamp};

use crate::exit::Failure;

/// Keeps every version of every JSON record, and reads any of them back.
///
/// A store is a folder; it is made when it is first written to. Records live
/// in collections, which are made likewise.
#[derive(Debug, Parser)]
#[command(
    name = "xronox",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_long_help = crate::exit::help()
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Globals {
    /// The configuration, a file of JSON, TOML or YAML [default:
    /// xronox.config.json or .xronox.json here or in a folder above, up to that
    /// of the repository]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["data", "catalog", "database"])]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the store [default: as configured, else ./xronox-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The catalog of a store that is no folder: mongodb://…, sqlite:FOLDER;
    /// ENV.NAME takes it from a variable
    #[arg(long, global = true, value_name = "URI", conflicts_with = "data")]
    pub(crate) catalog: Option<String>,
    /// Where that store keeps its bodies, as a URL of s3, az, gs or file; the
    /// README has examples. Credentials come from the provider's usual
    /// variables [default: in the catalog]
    #[arg(long, global = true, value_name = "URL", requires = "catalog")]
    pub(crate) payloads: Option<String>,
    /// The database there, if it is not the usual one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) database: Option<String>,
    #[command(flatten)]
    pub(crate) whose: Whose,
    /// Print one JSON value a line, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no remarks
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Whose database is meant, where a configuration has several.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Whose {
    /// The tenant whose database it is [default: the tenant `default`]
    #[arg(long, global = true, value_name = "ID", conflicts_with = "domain")]
    pub(crate) tenant: Option<String>,
    /// The domain whose database it is
    #[arg(long, global = true, value_name = "NAME", requires = "database_type")]
    pub(crate) domain: Option<String>,
    /// What the database is for: metadata, knowledge, runtime, logs, identities
    /// or messaging; without tenant or domain, the one that all share
    /// [default: runtime]
    #[arg(
        long = "type",
        global = true,
        value_name = "TYPE",
        id = "database_type"
    )]
    pub(crate) database_type: Option<String>,
}

impl Whose {
    /// The context that is meant, if one is.
    pub(crate) fn context(self) -> Result<Option<xronox::Context>, Failure> {
        let Self {
            tenant,
            domain,
            database_type,
        } = self;
        if tenant.is_none() && domain.is_none() && database_type.is_none() {
            return Ok(None);
        }
        let mut context = serde_json::Map::new();
        let database_type = database_type.unwrap_or_else(|| "runtime".to_owned());
        for (key, value) in [
            ("databaseType", Some(database_type)),
            ("tenantId", tenant),
            ("domain", domain),
        ] {
            if let Some(value) = value {
                context.insert(key.to_owned(), value.into());
            }
        }
        serde_json::from_value(context.into())
            .map(Some)
            .map_err(|error| Failure::usage(format!("--tenant, --domain, --type: {error}")))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a store
    Init,
    /// Show what a store can do, on the time zones of the world
    Demo(Demo),
    /// Create a record, or replace the one named by --id
    Put(Put),
    /// Merge into a record what was found out about it
    Enrich(Enrich),
    /// Put a file into a record
    Attach(Attach),
    /// Write out a file of a record
    Fetch(Fetch),
    /// Print a record
    Get(Get),
    /// List records, those that a filter matches
    Find(Find),
    /// Bring in records from JSON lines or a JSON array
    Import(Import),
    /// Print every record as JSON lines
    Export(Export),
    /// List the versions of a record
    Log(Log),
    /// Show what changed between two versions of a record
    Diff(Diff),
    /// Show which version last set each part of a record
    Blame(Blame),
    /// List what somebody created or changed last, in every collection
    Who(Who),
    /// Find all that there is of somebody, in every collection
    Footprint(Footprint),
    /// Delete all records of somebody, in every collection
    Erase(Erase),
    /// Show what a record was made from, or what came of it
    Lineage(Lineage),
    /// Bring back an earlier version of a record, or of a whole collection
    Restore(Restore),
    /// Delete a record; its history stays
    Delete(Delete),
    /// Index fields that queries filter and sort by, or list the indexes
    Index(Index),
    /// List the commits of a collection
    Changes(Changes),
    /// Copy a store into another one, with all its history
    Copy(Copy),
    /// Check everything that is stored; exit code 1 if there is damage
    Verify(Verify),
    /// Remove stored bodies that nothing names any more
    Gc(Gc),
    /// Move bodies of superseded versions to the bucket of versions
    MoveVersions,
    /// Go on with insertions of records and their entities that were broken off
    Resume,
    /// Show how much there is
    Stats(Stats),
    /// Show what was counted, in all and by the rules of the configuration
    #[command(subcommand)]
    Analytics(Analytics),
    /// List the tenants of a store, create, suspend, move and drop them
    #[command(subcommand)]
    Tenants(Tenants),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print a completion script for a shell
    Completions(Completions),
}

impl Command {
    /// Whether it works on the store that a configuration file describes,
    /// where the command line names none.
    pub(crate) fn is_configured(&self) -> bool {
        match self {
            Self::Copy(_) | Self::Demo(_) | Self::Completions(_) => false,
            Self::Config(config) => matches!(config, Config::Show | Config::Buckets { .. }),
            _ => true,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Analytics {
    /// Show what was counted in all
    Totals {
        /// Only of this collection
        collection: Option<String>,
    },
    /// Show what a rule counted, period by period
    Series {
        collection: String,
        /// The name of a counter rule
        rule: String,
        /// hourly, daily, weekly or monthly
        #[arg(long, value_name = "HOW", default_value = "daily", value_parser = timeframe)]
        timeframe: Timeframe,
        /// Begin with the period of this time, such as 2026-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        from: Option<Timestamp>,
        /// End with the period of this time [default: now]
        #[arg(long, value_name = "TIME")]
        to: Option<Timestamp>,
    },
    /// Count everything anew, by the rules as they are now
    Rebuild {
        /// Only this collection
        collection: Option<String>,
    },
}

/// A timeframe by its name in the configuration.
fn timeframe(name: &str) -> Result<Timeframe, String> {
    let timeframe = serde_json::from_value(name.into());
    timeframe.map_err(|_| "hourly, daily, weekly or monthly".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the JSON Schema of a configuration file
    Schema,
    /// Say everything that is wrong with a configuration file
    Check(ConfigCheck),
    /// Print the configuration with all defaults, without secrets
    Show,
    /// Say which buckets of the databases and known tenants are lacking
    Buckets {
        /// Make those that are not there
        #[arg(long)]
        make: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigCheck {
    /// The file [default: that of --config, else the one that is found]
    pub(crate) file: Option<PathBuf>,
    /// Try every connection: databases have to answer, buckets to be there
    #[arg(long)]
    pub(crate) connect: bool,
}

/// Who does it and why; kept with the version.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Attribution {
    /// Who does it: `type:identifier (name)`, or any other text for a user
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// Copies a store into another one: every version as it is. An interrupted
/// copy goes on where it stopped when it is begun again, and one that is
/// finished is brought up to date. In the end both are compared.
#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// The store to copy: a folder, or the URI of a catalog
    #[arg(long, value_name = "STORE")]
    pub(crate) from: String,
    /// The bodies that belong to it, as with --payloads
    #[arg(long, value_name = "URL")]
    pub(crate) from_payloads: Option<String>,
    /// The database to copy, as with --database
    #[arg(long, value_name = "NAME")]
    pub(crate) from_database: Option<String>,
    /// The store to copy it to, which is made if it is not there
    #[arg(long, value_name = "STORE")]
    pub(crate) to: String,
    /// The bodies that belong to it, as with --payloads
    #[arg(long, value_name = "URL")]
    pub(crate) to_payloads: Option<String>,
    /// The database to copy it to, as with --database
    #[arg(long, value_name = "NAME")]
    pub(crate) to_database: Option<String>,
    /// Copy only these collections
    #[arg(value_name = "COLLECTION")]
    pub(crate) collections: Vec<String>,
}

/// A moment of a collection.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Past {
    /// As of this time, such as 2024-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// As of this version of the collection
    #[arg(long, value_name = "N")]
    cv: Option<u64>,
}

/// A moment of a collection, or a version of a record.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Point {
    /// As of this time, such as 2024-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// As of this version of the collection
    #[arg(long, value_name = "N")]
    cv: Option<u64>,
    /// The version of the record
    #[arg(long, value_name = "N")]
    pub(crate) ov: Option<u64>,
}

impl Past {
    pub(crate) fn moment(self) -> Option<Moment> {
        self.cv.map(Moment::Cv).or(self.at.map(Moment::Time))
    }
}

impl Point {
    pub(crate) fn moment(self) -> Option<Moment> {
        let Self { at, cv, ov: _ } = self;
        Past { at, cv }.moment()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Show three tenants in one store instead
    #[arg(long)]
    pub(crate) tenants: bool,
    /// Keep the store, to go on with it
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    pub(crate) collection: String,
    /// The file with the document, `-` for standard input
    pub(crate) file: PathBuf,
    /// Replace this record; create it if there is none
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Only if the record's newest version is this one
    #[arg(long, value_name = "N", requires = "id")]
    pub(crate) expected_ov: Option<u64>,
    /// The record that a new one is made from, such as scans/7; one that is
    /// there keeps its own
    #[arg(long, value_name = "COLLECTION/ID", value_parser = located)]
    pub(crate) parent: Option<(String, String)>,
    /// Where a new one first came from, such as `stripe:customers/cus_1`; without
    /// it, from where the parent did
    #[arg(long, value_name = "[SYSTEM:]COLLECTION/ID", value_parser = located)]
    pub(crate) origin: Option<(String, String)>,
    /// Which objects in it are records of their own too, such as
    /// '[{"property":"customer","collection":"customers","keyProperty":"id"}]':
    /// those are created, or merged into
    #[arg(
        long,
        value_name = "JSON",
        value_parser = entities,
        conflicts_with_all = ["id", "parent", "origin"],
    )]
    pub(crate) entities: Option<Entities>,
    /// Let them be written into databases that others share
    #[arg(long, requires = "entities")]
    pub(crate) grant_shared: bool,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

/// A list of mappings, as one value of an option.
#[derive(Debug, Clone)]
pub(crate) struct Entities(pub(crate) Vec<EntityMapping>);

fn entities(text: &str) -> Result<Entities, String> {
    let mappings = serde_json::from_str(text);
    mappings.map(Entities).map_err(|error| error.to_string())
}

/// Objects merge deeply, arrays become a union, anything else replaces what is
/// there. With --id, a list of documents is merged as one version.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Enrich {
    pub(crate) collection: String,
    /// The file with the document or list of them, `-` for standard input
    pub(crate) file: PathBuf,
    /// Merge it into this record
    #[arg(long, group = "which")]
    pub(crate) id: Option<String>,
    /// Merge it into the record that has the same value here, and create it if
    /// there is none; several make one key
    #[arg(long, value_name = "FIELD", group = "which")]
    pub(crate) key: Vec<String>,
    /// What found it out, such as scorer@v1; kept with the record
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Vec<String>,
    /// Only if the record's newest version is this one
    #[arg(long, value_name = "N", requires = "id")]
    pub(crate) expected_ov: Option<u64>,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

/// Puts a file, of whatever length, into a record at a place that `base64Props`
/// of the configuration names. Earlier versions keep what was there.
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// Where in the document, such as invoice or photos.0.image
    pub(crate) path: String,
    /// The file, `-` for standard input
    pub(crate) file: PathBuf,
    /// What it is, such as image/png; as a rule the configuration says so
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Only if the record's newest version is this one
    #[arg(long, value_name = "N")]
    pub(crate) expected_ov: Option<u64>,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

/// Writes a file of a record to standard output, or with --output to a file,
/// which is there only once all of it is. With --json, tells about that file.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// Where in the document, such as invoice or photos.0.image
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) point: Point,
    /// The file to write
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) output: Option<PathBuf>,
    /// As text, in UTF-8
    #[arg(long)]
    pub(crate) text: bool,
    /// Print a URL that anybody can fetch it with for a while (S3, Azure, GCS)
    #[arg(long)]
    pub(crate) url: bool,
    /// How many seconds that URL lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "url")]
    pub(crate) ttl: u64,
}

fn located(text: &str) -> Result<(String, String), String> {
    let (collection, id) = text
        .split_once('/')
        .ok_or("not of the form COLLECTION/ID")?;
    Ok((collection.to_owned(), id.to_owned()))
}

/// Lists the records that an identity created, and those whose newest version
/// it made, deleted ones included. What it changed before, and what was done
/// on its behalf, takes --versions.
#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    /// Who: `type:identifier`, or any other text for a user
    pub(crate) identity: String,
    /// Only in these collections
    #[arg(value_name = "COLLECTION")]
    pub(crate) collections: Vec<String>,
    /// List every version that it made, or that was made on its behalf; this
    /// reads the whole history
    #[arg(long)]
    pub(crate) versions: bool,
    /// With the document of each version
    #[arg(long, requires = "versions")]
    pub(crate) documents: bool,
    /// At most so many [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// With --json, show hidden fields too
    #[arg(long)]
    pub(crate) show_hidden: bool,
}

/// Whose records are meant: those of which one of these is true.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(true))]
pub(crate) struct Whom {
    /// Records that it created: `type:identifier`, or any other text for a user
    #[arg(long, value_name = "WHO", group = "whom")]
    pub(crate) creator: Vec<String>,
    /// Records whose newest version it made
    #[arg(long, value_name = "WHO", group = "whom")]
    pub(crate) updater: Vec<String>,
    /// Records that have this value, JSON or text, such as email=ann@example.com
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment, group = "whom")]
    pub(crate) field: Vec<(String, String)>,
    /// Look at every version that is kept, not only at the newest ones
    #[arg(long)]
    pub(crate) in_history: bool,
    /// Only in these collections
    #[arg(value_name = "COLLECTION")]
    pub(crate) collections: Vec<String>,
}

/// Lists the records of somebody, deleted ones included, with how many versions,
/// files and bytes there are of each. With --json, a line for each, and the sums.
#[derive(Debug, clap::Args)]
pub(crate) struct Footprint {
    #[command(flatten)]
    pub(crate) whom: Whom,
}

/// Deletes the records of somebody one by one, and looks afterwards what is left;
/// exit code 1 if that is more than it should be. Look first with `footprint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// Remove every version, body and file for good
    #[arg(long)]
    pub(crate) hard: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lineage {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// List what came of it, in every collection, the nearest first
    #[arg(long)]
    pub(crate) descendants: bool,
    /// With --json, show hidden fields of these too
    #[arg(long, requires = "descendants")]
    pub(crate) show_hidden: bool,
}

/// What is shown of documents.
#[derive(Debug, clap::Args)]
pub(crate) struct Shown {
    /// Show what this projection of the collection shows, `*` for everything
    #[arg(long, value_name = "NAME")]
    pub(crate) projection: Option<String>,
    /// Show hidden fields too
    #[arg(long)]
    pub(crate) show_hidden: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    pub(crate) collection: String,
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) point: Point,
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// Print it even if it is deleted
    #[arg(long)]
    pub(crate) deleted: bool,
    /// Print the records of its entities too; as for `put`
    #[arg(
        long,
        value_name = "JSON",
        value_parser = entities,
        conflicts_with_all = ["ov", "cv", "deleted"],
    )]
    pub(crate) entities: Option<Entities>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Find {
    pub(crate) collection: String,
    /// Only records that match, such as '{"total": {"$gt": 10}}'
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// The order: fields with commas between, `-` in front for the largest
    /// first, such as -total,name; or JSON such as [["total",-1]]
    #[arg(long, value_name = "FIELDS", allow_hyphen_values = true)]
    pub(crate) sort: Option<String>,
    /// Print only these fields, with commas between
    #[arg(long, value_name = "FIELDS", conflicts_with = "projection")]
    pub(crate) fields: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// At most so many [default: 50]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Go on behind this cursor of an earlier list
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) past: Past,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    pub(crate) collection: String,
    /// JSON lines or a JSON array, `-` for standard input
    pub(crate) file: PathBuf,
    /// Make this field a unique key: a record that has a key already held
    /// updates the holder
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<Path>,
    /// Keep another system's ids and times: OURS=FIELD with OURS one of id,
    /// created and updated, such as id=_id,created=createdAt
    #[arg(long, value_name = "OURS=FIELD,…", value_delimiter = ',', value_parser = mapping)]
    pub(crate) map: Vec<(Ours, Path)>,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

/// What a field of another system is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ours {
    Id,
    Created,
    Updated,
}

fn mapping(text: &str) -> Result<(Ours, Path), String> {
    let (ours, field) = text.split_once('=').ok_or("not of the form OURS=FIELD")?;
    let ours = match ours.trim() {
        "id" => Ours::Id,
        "created" => Ours::Created,
        "updated" => Ours::Updated,
        other => return Err(format!("`{other}` is none of id, created and updated")),
    };
    let field = field.trim().parse::<Path>().map_err(|e| e.to_string())?;
    Ok((ours, field))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    pub(crate) collection: String,
    /// Only records that match
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
    #[command(flatten)]
    pub(crate) past: Past,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// At most so many versions, newest first
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// The earlier version [default: the one before the later]
    pub(crate) from: Option<u64>,
    /// The later version [default: the newest]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Blame {
    pub(crate) collection: String,
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    pub(crate) collection: String,
    /// The record; without it the whole collection is restored
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) point: Point,
    /// Only if the record's newest version is this one
    #[arg(long, value_name = "N", requires = "id")]
    pub(crate) expected_ov: Option<u64>,
    /// Only say what would be done to the collection
    #[arg(long, conflicts_with_all = ["id", "resume", "jobs"])]
    pub(crate) dry_run: bool,
    /// Go on with an interrupted restore of the collection
    #[arg(long, value_name = "JOB", conflicts_with_all = ["id", "jobs"])]
    pub(crate) resume: Option<String>,
    /// List interrupted restores of the collection
    #[arg(long, conflicts_with_all = ["id", "at", "cv", "ov"])]
    pub(crate) jobs: bool,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    pub(crate) collection: String,
    pub(crate) id: String,
    /// Remove every version for good
    #[arg(long)]
    pub(crate) hard: bool,
    /// Only if the record's newest version is this one
    #[arg(long, value_name = "N")]
    pub(crate) expected_ov: Option<u64>,
    #[command(flatten)]
    pub(crate) attribution: Attribution,
}

/// Makes an index of each field and waits until it is filled, or lists the
/// indexes of the collection. A field of a small collection is indexed when it
/// is first filtered or sorted by; a large one takes this command.
#[derive(Debug, clap::Args)]
pub(crate) struct Index {
    pub(crate) collection: String,
    /// The fields, such as total or address.city; without any, the indexes are
    /// listed
    #[arg(value_name = "FIELD")]
    pub(crate) fields: Vec<Path>,
    /// Make the fields together a unique key: no two records may agree in all
    /// of them
    #[arg(long, requires = "fields")]
    pub(crate) unique: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Changes {
    pub(crate) collection: String,
    /// Only commits after this version of the collection
    #[arg(long, value_name = "CV")]
    pub(crate) after: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Go on with new commits as they come, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Only this collection
    pub(crate) collection: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// List every body that nothing names, one a line
    #[arg(long)]
    pub(crate) list: bool,
    /// Delete what was found unnamed at least so many days ago; 0 only when
    /// nobody writes [default: 7]
    #[arg(long, value_name = "DAYS")]
    pub(crate) grace_days: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// Only this collection
    pub(crate) collection: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// List them, with where their databases are
    List {
        /// Begin after this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// At most so many [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Make a tenant, with its databases
    Create {
        id: String,
        /// What it has booked: one of the tiers of dynamicTenants
        #[arg(long)]
        plan: Option<String>,
        /// Metadata for the names of its databases, such as region=eu
        #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
        meta: Vec<(String, String)>,
    },
    /// Show one tenant
    Describe { id: String },
    /// Let nobody open a tenant
    Suspend { id: String },
    /// Let a suspended tenant be opened again
    Resume { id: String },
    /// Remove a tenant for good: its databases, their bodies, its entries.
    /// What was interrupted goes on when it is said again
    Drop(DropTenant),
    /// Move a tenant to another connection, with all history. What was
    /// interrupted goes on when it is said again
    Move {
        id: String,
        /// The connection, a key of dbConnections
        #[arg(long, value_name = "CONN", required_unless_present = "cancel")]
        to: Option<String>,
        /// Leave the old databases, sealed, for processes that still read
        /// there; the same command without this removes them
        #[arg(long, conflicts_with = "cancel")]
        keep_old: bool,
        /// Give up a move that was interrupted before it was at the new place
        #[arg(long, conflicts_with = "to")]
        cancel: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct DropTenant {
    pub(crate) id: String,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn mappings_are_read_as_documented() {
        let path = |text: &str| text.parse::<Path>().unwrap();
        assert_eq!(mapping("id=_id").unwrap(), (Ours::Id, path("_id")));
        assert_eq!(
            mapping(" created = meta.at").unwrap(),
            (Ours::Created, path("meta.at"))
        );
        for text in ["", "id", "id=", "name=x", "=x"] {
            assert!(mapping(text).is_err(), "{text}");
        }
    }
}
