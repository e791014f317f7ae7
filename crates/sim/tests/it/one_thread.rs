//! Nodes and a coordinator on one paused thread, over every seam.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use objects::{GetRequest, Objects, PutRequest, ReadPart};
use sim::cluster::{BootError, Cluster, Options, on_one_thread};
use sim::directory::Wiring;
use sim::power::Who;
use sim::requests::name;

async fn put(objects: &Objects, key: &[u8], bytes: &[u8]) {
    let request = PutRequest {
        name: name(key),
        length: Some(bytes.len() as u64),
        content_type: "text/plain".into(),
        user_metadata: vec![],
        when: Default::default(),
        keep: Default::default(),
        write_quorum: None,
        chunk_mode: None,
        make_bucket: true,
    };
    let body = futures_util::stream::iter([Ok::<_, String>(Bytes::copy_from_slice(bytes))]);
    objects.put(request, body).await.unwrap();
}

async fn get(objects: &Objects, key: &[u8]) -> Vec<u8> {
    let reader = objects.open(GetRequest { name: name(key), read_quorum: 1 }).await.unwrap();
    let range = ReadPart::Whole.of(reader.head().row.size).unwrap();
    let pieces: Vec<Bytes> = reader.read(range).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}

/// Puts, cuts the power, gets; through calls and through HTTP alike.
#[test]
fn nodes_and_a_coordinator() {
    for (nodes_over_http, coordinator_over_http) in [(false, false), (true, false), (false, true), (true, true)] {
        on_one_thread(async {
            let wiring = Wiring { nodes_over_http, coordinator_over_http };
            let cluster = Cluster::start(Options { wiring, ..Options::new(1) }).await.unwrap();
            put(&cluster.objects().unwrap(), b"key", &[7; 5000]).await;
            cluster.power_cut();
            assert_eq!(cluster.down().len(), 5, "gateway, coordinator and three nodes");
            cluster.restart().await.unwrap();
            let objects = cluster.objects().unwrap();
            assert_eq!(get(&objects, b"key").await, [7; 5000]);
            // One node less is no hindrance, and a killed coordinator is only a pause: the gateway asks again.
            cluster.kill(Who::Node(0));
            cluster.kill(Who::Coordinator);
            let back = tokio::spawn({
                let cluster = cluster.clone();
                async move {
                    // waits: in simulated time; the pause is what the gateway must bridge.
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    cluster.boot(Who::Coordinator).await
                }
            });
            put(&objects, b"other", &[8; 3000]).await;
            assert_eq!(get(&objects, b"other").await, [8; 3000]);
            back.await.unwrap().unwrap();
            cluster.shut_down().await.unwrap();
            cluster.restart().await.unwrap();
            assert_eq!(get(&cluster.objects().unwrap(), b"other").await, [8; 3000]);
        });
    }
}

/// The power goes before each of the first changes in turn of a cluster's very first start; it always comes up afterwards.
#[test]
fn a_first_start_may_be_cut_anywhere() {
    on_one_thread(async {
        for n in (1..60).chain((60..4000).step_by(173)) {
            let cluster = Cluster::new(Options::new(n));
            cluster.power().cut_at_change(&cluster.power().all(), n);
            match cluster.restart().await {
                Ok(()) => cluster.power().disarm(),
                Err(BootError::Cut) => cluster.restart().await.unwrap_or_else(|error| panic!("cut at {n}: {error}")),
                Err(error) => panic!("cut at {n}: {error}"),
            }
            put(&cluster.objects().unwrap(), b"key", b"bytes").await;
            assert_eq!(get(&cluster.objects().unwrap(), b"key").await, b"bytes");
        }
    });
}

/// A reader of a chunk an hour (here, ten seconds) holds no delete up for ever: it looks again, and goes on only if the object is still the same.
#[test]
fn a_reader_that_takes_its_time_looks_again() {
    on_one_thread(async {
        let cluster = Cluster::start(Options::new(3)).await.unwrap();
        let objects = cluster.objects().unwrap();
        for (deleted, outcome) in [(false, true), (true, false)] {
            put(&objects, b"long", &[5; 10_000]).await;
            let reader = objects.open(GetRequest { name: name(b"long"), read_quorum: 1 }).await.unwrap();
            let mut body = reader.read(0..10_000).await.unwrap();
            let mut found = body.try_next().await.unwrap().unwrap().to_vec();
            if deleted {
                objects.delete(&name(b"long"), Default::default()).await.unwrap();
            }
            // waits: in simulated time; the time is what is tested.
            tokio::time::sleep(sim::cluster::HOLD_FLOOR).await;
            let rest: Result<Vec<Bytes>, _> = body.try_collect().await;
            assert_eq!(rest.is_ok(), outcome, "deleted: {deleted}: {rest:?}");
            if let Ok(rest) = rest {
                found.extend(rest.concat());
                assert_eq!(found, [5; 10_000]);
            }
        }
    });
}
