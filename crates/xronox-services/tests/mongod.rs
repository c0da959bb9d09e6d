//! Real `mongod` processes: they answer, survive a crash, and end with us.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bson::{Bson, Document, doc};
use xronox_services::{Connection, Mongod, ReplicaSet, env::services};

const WAIT: Duration = Duration::from_secs(10);

/// Stores a document with this id; it may be there already.
fn store(server: &Mongod, id: i32, concern: Document) -> Result<()> {
    let document = doc! { "q": { "_id": id }, "u": { "_id": id }, "upsert": true };
    let command = doc! { "update": "c", "updates": [document], "writeConcern": concern };
    let answer = server.command("test", command)?;
    let wrong = answer.contains_key("writeErrors") || answer.contains_key("writeConcernError");
    ensure!(!wrong, "{answer}");
    Ok(())
}

/// What this server has. A majority read would not do: a new primary answers
/// it from what it knows a majority has, which lags at first.
fn ids(server: &Mongod) -> Result<Vec<i32>> {
    let answer = server.command("test", doc! { "find": "c", "sort": { "_id": 1 } })?;
    let found = answer.get_document("cursor")?.get_array("firstBatch")?;
    let id = |found: &Bson| {
        found
            .as_document()
            .and_then(|found| found.get_i32("_id").ok())
    };
    found
        .iter()
        .map(id)
        .collect::<Option<_>>()
        .context("no ids")
}

/// Runs this at the primary, again if that has changed meanwhile: on a busy
/// machine an election may follow another.
fn at_primary<T>(set: &ReplicaSet, run: impl Fn(&Mongod) -> Result<T>) -> (usize, T) {
    let begun = Instant::now();
    loop {
        let primary = set.primary().unwrap();
        match run(&set.members()[primary]) {
            Ok(done) => return (primary, done),
            Err(error) => assert!(begun.elapsed() < 3 * WAIT, "{error:#}"),
        }
    }
}

fn set_name(server: &Mongod) -> Option<String> {
    let hello = server.command("admin", doc! { "hello": 1 }).unwrap();
    hello.get_str("setName").ok().map(str::to_owned)
}

#[test]
fn a_standalone_keeps_its_data_and_port_over_a_crash() {
    let mut server = Mongod::standalone(&services().unwrap()).unwrap();
    assert_eq!(set_name(&server), None);
    let before = server.uri();
    store(&server, 1, doc! { "j": true }).unwrap();
    server.kill();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart().unwrap();
    assert_eq!(server.uri(), before);
    assert_eq!(ids(&server).unwrap(), [1]);
}

#[test]
fn a_replica_set_of_one_keeps_its_data_and_port_over_a_crash() {
    let mut server = Mongod::replica_set(&services().unwrap()).unwrap();
    assert_eq!(set_name(&server).as_deref(), Some("rs0"));
    store(&server, 1, doc! { "w": "majority", "j": true }).unwrap();
    server.kill();
    server.restart().unwrap();
    assert_eq!(ids(&server).unwrap(), [1]);
    store(&server, 2, doc! { "w": "majority", "j": true }).unwrap();
    assert!(
        server.uri().ends_with("/?replicaSet=rs0"),
        "{}",
        server.uri()
    );
}

#[test]
fn a_secured_server_answers_by_tls_and_to_its_user_alone() {
    let mut server = Mongod::secured(&services().unwrap()).unwrap();
    let hello = doc! { "hello": 1 };
    let mut plain = Connection::open(server.address(), WAIT).unwrap();
    plain.command("admin", hello.clone()).unwrap_err();
    server.command("admin", hello.clone()).unwrap();
    let refused = server.command("test", doc! { "find": "c" }).unwrap_err();
    assert!(
        refused.to_string().contains("requires authentication"),
        "{refused}"
    );

    // The user is there: nobody else can be made from 127.0.0.1 any more.
    let another = doc! { "createUser": "another", "pwd": "p", "roles": ["root"] };
    server.command("admin", another).unwrap_err();

    let uri = server.uri();
    let (_, authority) = uri.split_once("tlsCAFile=").unwrap();
    let authority = fs::read_to_string(authority.replace("%2F", "/")).unwrap();
    assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"));

    server.kill();
    server.restart().unwrap();
    server.command("admin", hello).unwrap();
}

#[test]
fn a_set_of_three_finds_a_new_primary_each_time_its_primary_is_killed() {
    let mut set = ReplicaSet::start(&services().unwrap()).unwrap();
    for round in 0..2 {
        let durable = || doc! { "w": "majority", "j": true, "wtimeout": 5_000 };
        let (primary, ()) = at_primary(&set, |server| store(server, round, durable()));
        set.kill(primary);
        let (next, found) = at_primary(&set, ids);
        assert_ne!(next, primary);
        let written: Vec<_> = (0..=round).collect();
        assert_eq!(found, written);
        set.restart(primary).unwrap();
    }
    assert_eq!(set.uri().matches("127.0.0.1:").count(), 3, "{}", set.uri());
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let mut server = Mongod::standalone(&services().unwrap()).unwrap();
    server.kill();
    let squatter = std::net::TcpListener::bind(server.address()).unwrap();
    let said = server.restart().unwrap_err().to_string();
    assert!(said.contains("ended while it started"), "{said}");
    assert!(said.contains("ddress already in use"), "{said}");
    drop(squatter);
    server.restart().unwrap();
}

#[test]
fn dropping_a_server_ends_it_and_removes_its_data() {
    let services = services().unwrap();
    let server = Mongod::standalone(&services).unwrap();
    let options = server
        .command("admin", doc! { "getCmdLineOpts": 1 })
        .unwrap();
    let storage = options
        .get_document("parsed")
        .unwrap()
        .get_document("storage");
    let data = storage.unwrap().get_str("dbPath").unwrap().to_owned();
    assert!(
        data.starts_with(services.folder().to_str().unwrap()),
        "{data}"
    );
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
    assert!(!fs::exists(data).unwrap());
}

const CHILD: &str = "XRONOX_SERVICES_CHILD";

/// Run by itself as another process, it starts a server and waits to be killed.
#[test]
fn a_server_ends_with_the_process_that_started_it() {
    if env::var_os(CHILD).is_some() {
        // On a thread that ends: the server must not.
        let start = || Mongod::standalone(&services().unwrap()).unwrap();
        let server = thread::spawn(start).join().unwrap();
        thread::sleep(Duration::from_millis(200));
        server.command("admin", doc! { "ping": 1 }).unwrap();
        println!("\nlistens at {}", server.address());
        thread::sleep(Duration::from_mins(2));
        return;
    }
    let name = "a_server_ends_with_the_process_that_started_it";
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines
        .find_map(|line| line.unwrap().strip_prefix("listens at ")?.parse().ok())
        .unwrap();
    let mut open = TcpStream::connect(address).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    open.set_read_timeout(Some(WAIT)).unwrap();
    let end = open.read(&mut [0]);
    assert!(!end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < WAIT, "the server outlives its parent");
        thread::sleep(Duration::from_millis(20));
    }
}
