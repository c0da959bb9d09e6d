//! The proxy between a connection and a real `mongod`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use bson::{Document, doc};
use xronox_services::{Connection, Fault, Mongod, Proxy, env::services};

const WAIT: Duration = Duration::from_secs(10);

fn start() -> (Mongod, Proxy) {
    let server = Mongod::standalone(&services().unwrap()).unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    (server, proxy)
}

fn open(proxy: &Proxy) -> Connection {
    Connection::open(proxy.address(), WAIT).unwrap()
}

fn insert(id: i32) -> Document {
    doc! { "insert": "c", "documents": [{ "_id": id }] }
}

fn count(server: &Mongod) -> i32 {
    let answer = server.command("test", doc! { "count": "c" }).unwrap();
    answer.get_i32("n").unwrap()
}

#[test]
fn connections_pass_until_they_are_cut() {
    let (server, proxy) = start();
    let mut first = open(&proxy);
    first.command("test", insert(1)).unwrap();
    proxy.cut();
    first.command("test", insert(2)).unwrap_err();
    open(&proxy).command("test", insert(3)).unwrap();
    assert_eq!(count(&server), 2);
}

#[test]
fn a_stall_holds_everything_and_loses_nothing() {
    let (server, proxy) = start();
    let mut connection = open(&proxy);
    connection.command("test", insert(1)).unwrap();
    proxy.stall();
    let (done, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(connection.command("test", insert(2))).unwrap());
        // A new connection is accepted, and waits too.
        let short = Duration::from_millis(300);
        let mut second = Connection::open(proxy.address(), short).unwrap();
        second.command("test", insert(3)).unwrap_err();
        ended.try_recv().unwrap_err();
        assert_eq!(count(&server), 1);
        proxy.pass();
        ended.recv_timeout(WAIT).unwrap().unwrap();
    });
}

#[test]
fn a_stalled_connection_can_be_cut() {
    let (server, proxy) = start();
    let mut connection = open(&proxy);
    connection.command("test", insert(1)).unwrap();
    proxy.stall();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| connection.command("test", insert(2)));
        thread::sleep(Duration::from_millis(200));
        proxy.cut();
        waiting.join().unwrap().unwrap_err();
    });
    proxy.pass();
    assert_eq!(count(&server), 1);
}

#[test]
fn a_refused_client_comes_through_again_later() {
    let (_server, proxy) = start();
    let mut old = open(&proxy);
    proxy.refuse();
    old.command("admin", doc! { "ping": 1 }).unwrap_err();
    let refused = Connection::open(proxy.address(), WAIT);
    let refused =
        refused.and_then(|mut connection| connection.command("admin", doc! { "ping": 1 }));
    refused.unwrap_err();
    proxy.pass();
    open(&proxy).command("admin", doc! { "ping": 1 }).unwrap();
}

#[test]
fn a_command_is_done_or_not_as_its_answer_or_itself_is_lost() {
    let (server, proxy) = start();
    proxy.inject(Fault::LoseRequest, 1, |request| request.contains("insert"));
    // HTTP's faults are none of MongoDB's.
    proxy.inject(Fault::SlowDown, 1, |_| true);
    let mut connection = open(&proxy);
    connection.command("admin", doc! { "ping": 1 }).unwrap();
    connection.command("test", insert(1)).unwrap_err();
    assert_eq!(count(&server), 0);

    proxy.inject(Fault::LoseAnswer, 1, |request| request.contains("insert"));
    let mut connection = open(&proxy);
    connection.command("admin", doc! { "ping": 1 }).unwrap();
    connection.command("test", insert(1)).unwrap_err();
    assert_eq!(count(&server), 1);
    assert_eq!(proxy.pending(), 1);
    open(&proxy).command("test", insert(2)).unwrap();
}

#[test]
fn a_long_message_passes_whole() {
    let (server, proxy) = start();
    let text = "x".repeat(5_000_000);
    let command = doc! { "insert": "c", "documents": [{ "_id": 1, "text": &text }] };
    let mut connection = open(&proxy);
    connection.command("test", command).unwrap();
    assert_eq!(count(&server), 1);
    let answer = connection.command("test", doc! { "find": "c" }).unwrap();
    let found = answer
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    assert_eq!(
        found[0].as_document().unwrap().get_str("text").unwrap(),
        text
    );
}

#[test]
fn what_is_neither_http_nor_mongodb_passes_as_it_comes() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(upstream.local_addr().unwrap()).unwrap();
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let (mut server, _) = upstream.accept().unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    assert_eq!(got, [0x16, 3, 1, 2, 0]);
    server.write_all(b"end").unwrap();
    drop(server);
    got.clear();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"end");
}

#[test]
fn a_dropped_proxy_listens_no_more() {
    let (_server, proxy) = start();
    let address = proxy.address();
    let mut connection = open(&proxy);
    connection.command("admin", doc! { "ping": 1 }).unwrap();
    drop(proxy);
    connection.command("admin", doc! { "ping": 1 }).unwrap_err();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
