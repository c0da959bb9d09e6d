//! Files that are put by themselves.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use futures::{TryStreamExt, stream};
use serde_json::json;
use xronox::{Content, ErrorKind, Sha256};

use super::*;

/// Bytes that never repeat, as they are asked for.
struct Endless {
    left: usize,
    state: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.left).min(100_001);
        for byte in &mut buffer[..length] {
            self.state = self
                .state
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(1);
            *byte = (self.state >> 56) as u8;
        }
        self.left -= length;
        Ok(length)
    }
}

fn endless(left: usize) -> Endless {
    Endless { left, state: 7 }
}

#[tokio::test]
async fn large_files_go_in_and_out_as_streams() {
    for store in stores(settings()).await {
        let papers = papers(&store);
        papers.create_with_id("a", json!({ "n": 1 })).await.unwrap();
        for length in [0, 1, (8 << 20) - 1, 8 << 20, (17 << 20) + 5] {
            let mut whole = Vec::new();
            endless(length).read_to_end(&mut whole).unwrap();
            let written = papers
                .attach("a", "contract", Content::from_read(endless(length)))
                .content_type("video/mp4")
                .actor("user:ann")
                .await
                .unwrap();
            let read = papers.get_latest("a").await.unwrap();
            assert_eq!(read.ov(), written.ov);
            let info = &read.files()[0];
            assert_eq!(info.size, length as u64);
            assert_eq!(info.sha256, Sha256::of(&whole));
            assert_eq!(info.content_type, "video/mp4");
            let file = papers.file("a", "contract").await.unwrap();
            let parts: Vec<_> = file.try_collect().await.unwrap();
            assert!(parts.iter().all(|part| part.len() <= 4 << 20));
            assert!(parts.concat() == whole, "{length} bytes");
            let mut file = papers.file("a", "contract").await.unwrap();
            if let Some(few) = length.checked_sub(1) {
                invalid(file.bytes(few).await, "contract");
            }
        }
        let history = papers.history("a").await.unwrap();
        assert_eq!(history.len(), 6);
        assert_eq!(history[0].actor.as_ref().unwrap().identifier, "ann");
        // At a place in an array, as text, from a stream.
        papers
            .patch("a", json!({ "photos": [{}, {}] }))
            .await
            .unwrap();
        papers.attach("a", "photos.1.image", vec![9]).await.unwrap();
        let parts = ["f\u{fc}", "r"].map(|part| {
            let latin1: Vec<u8> = part.chars().map(|c| c as u8).collect();
            Ok::<_, std::io::Error>(Bytes::from(latin1))
        });
        papers
            .attach("a", "notes", Content::from_stream(stream::iter(parts)))
            .await
            .unwrap();
        let read = papers.get_latest("a").include_text().await.unwrap();
        assert_eq!(places(&read), ["contract", "notes", "photos.1.image"]);
        assert_eq!(read.texts()[&"notes".parse().unwrap()], "für");
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused() {
    for store in local_stores(settings()).await {
        let papers = papers(&store);
        papers
            .create_with_id("a", json!({ "n": 1, "photos": [] }))
            .await
            .unwrap();
        papers.create_with_id("gone", json!({})).await.unwrap();
        papers.delete("gone").await.unwrap();
        let never = || {
            Content::from_stream(stream::poll_fn(|_| {
                panic!("nothing is read of it");
                #[expect(unreachable_code, reason = "it has a type")]
                std::task::Poll::Ready(None::<Result<Bytes, std::io::Error>>)
            }))
        };
        let attach = |id: &'static str, path: &'static str| papers.attach(id, path, never());
        assert_eq!(
            kind(attach("nobody", "contract").await),
            ErrorKind::NotFound
        );
        assert_eq!(kind(attach("gone", "contract").await), ErrorKind::Deleted);
        for path in ["n", "contracts", "photos", "contract.x", "_system", ""] {
            assert_eq!(kind(attach("a", path).await), ErrorKind::Invalid, "{path}");
        }
        for wrong in ["", "a\nb", "é", &"x".repeat(257)] {
            let refused = attach("a", "contract").content_type(wrong).await;
            invalid(refused, "contentType");
        }
        // An array has no such element.
        invalid(papers.attach("a", "photos.3.image", "x").await, "photos");
        let late = papers.attach("a", "contract", "x").expected_ov(7);
        let conflict = ErrorKind::Conflict {
            expected: 7,
            actual: 0,
        };
        assert_eq!(kind(late.await), conflict);
        let broken = stream::iter([
            Ok(Bytes::from_static(b"x")),
            Err(std::io::Error::other("the line is dead")),
        ]);
        let broken = papers.attach("a", "contract", Content::from_stream(broken));
        assert!(matches!(kind(broken.await), ErrorKind::Unavailable));
        assert_eq!(papers.get_latest("a").await.unwrap().ov(), 0);
        // Repeated, it is the same.
        let attach = || papers.attach("a", "contract", "x").idempotency_key("k");
        let first = attach().await.unwrap();
        papers.patch("a", json!({ "n": 2 })).await.unwrap();
        assert_eq!(attach().await.unwrap(), first);
        let other = papers.attach("a", "contract", "y").idempotency_key("k");
        assert_eq!(kind(other.await), ErrorKind::Invalid);
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn racing_changes_are_all_kept() {
    for store in stores(settings()).await {
        let papers = papers(&store);
        papers.create_with_id("a", json!({ "n": 0 })).await.unwrap();
        let writers = (0..8).map(|n| {
            let papers = papers.clone();
            tokio::spawn(async move {
                let text = json!({ "scans": format!("AAA{}", char::from(b'A' + n)), "seen": [n] });
                match n % 3 {
                    0 => papers.attach("a", "contract", vec![n]).await,
                    1 => papers.enrich("a", json!([{ "scans": [] }, text])).await,
                    _ => {
                        papers
                            .patch("a", json!({ "notes": "eA==", (format!("p{n}")): n }))
                            .await
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap().unwrap();
        }
        let read = papers.get_latest("a").await.unwrap();
        assert_eq!(
            places(&read),
            ["contract", "notes", "scans.0", "scans.1", "scans.2"]
        );
        for path in places(&read) {
            content(&papers, "a", &path).await;
        }
        assert!(papers.verify().await.unwrap().clean());
    }
}

/// The body of an answer to a plain GET.
fn fetch(url: &str) -> (String, Vec<u8>) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let status = String::from_utf8_lossy(&answer[..end]).into_owned();
    (status, answer[end + 4..].to_vec())
}

#[tokio::test]
async fn urls_fetch_files_and_nothing_else() {
    let hour = Duration::from_hours(1);
    for store in stores(settings()).await {
        let papers = papers(&store);
        let document = json!({
            "contract": "AQID", "notes": "Zvxy",
            "like": { "_file": { "contentType": "a", "sha256": "b", "size": 1, "text": false } },
        });
        papers.create_with_id("a", document).await.unwrap();
        papers.create_with_id("b", json!({ "n": 1 })).await.unwrap();
        // A record without files has nothing to sign.
        let none = papers.get_latest("b").presign(hour).await.unwrap();
        assert!(none.presigned().is_empty());
        if !store.on_servers {
            let refused = papers.get_latest("a").presign(hour).await;
            assert_eq!(kind(refused), ErrorKind::Unsupported);
            continue;
        }
        let read = papers.get_latest("a").presign(hour).await.unwrap();
        let presigned = read.presigned();
        let paths: Vec<String> = presigned.keys().map(ToString::to_string).collect();
        assert_eq!(paths, ["contract", "notes"]);
        let notes = &presigned[&"notes".parse().unwrap()];
        assert_eq!(notes.expires_in, 3600);
        for (url, expected) in [
            (
                &presigned[&"contract".parse().unwrap()].blob_url,
                &[1, 2, 3][..],
            ),
            (&notes.blob_url, b"f\xfcr"),
            (notes.text_url.as_ref().unwrap(), "für".as_bytes()),
        ] {
            let (status, body) = fetch(url);
            assert!(status.contains(" 200 "), "{status}");
            assert!(body.ends_with(expected), "{body:?}");
        }
        assert!(!format!("{read:?}").contains(&notes.blob_url));
        let json = read.json();
        assert_eq!(json["_system"]["presigned"]["notes"]["expiresIn"], 3600);
        assert!(json["_system"]["presigned"]["contract"]["blobUrl"].is_string());
        // What a read gave is no data when it comes back.
        papers.update("a", json).await.unwrap();
        assert!(
            papers
                .get_latest("a")
                .await
                .unwrap()
                .document()
                .get("_system")
                .is_none()
        );
        let page = papers.query(json!({})).presign(hour).await.unwrap();
        assert_eq!(
            page.items
                .iter()
                .map(|item| item.presigned().len())
                .sum::<usize>(),
            2
        );
        let part = papers
            .get_latest("a")
            .presign(hour)
            .project(["notes"])
            .await
            .unwrap();
        assert_eq!(part.presigned().len(), 1);
        for wrong in [Duration::ZERO, hour * 24 * 8] {
            let refused = papers.get_latest("a").presign(wrong).await;
            assert_eq!(kind(refused), ErrorKind::Invalid);
        }
    }
}
