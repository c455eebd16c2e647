//! Our own client against scripted peers: every trap that a ZeroMQ library was measured to fall into, and some more.
//! Whatever a peer did, a good publisher on the same port is heard afterwards.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use statscache_server::bus::zmtp::codec::Event;
use statscache_server::bus::zmtp::wire::{Mechanism, put_frame, put_greeting, put_ready};
use statscache_server::bus::{
    EndpointState, Recv, RejectKind, Rejects, Source, WhenFull, ZmtpConfig, ZmtpSource, queue,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::scripted::{Hostile, command, for_ever, introduce, long_header, message};
use super::support::{Library, Pump, SOON, Subscriber, endpoint, note, now};

/// Memory that no peer may make us take; other tests of this process run at the same time.
const GROWTH_MIB_MAX: u64 = 200;

/// Deadlines short enough for a test, and the longest backoff too.
fn impatient(config: &mut ZmtpConfig) {
    config.handshake_deadline = Duration::from_millis(300);
    config.message_deadline = Duration::from_millis(300);
    config.ping_after = Duration::from_millis(200);
    config.ping_deadline = Duration::from_millis(200);
    config.backoff_max = Duration::from_millis(200);
}

/// The client meets the peer, shows this error, and hears a good publisher once the peer is gone.
async fn check<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    error: &str,
    script: impl Fn(TcpStream) -> F + Send + 'static,
) {
    let before = rss_mib();
    let hostile = Hostile::start(script).await;
    let address = hostile.address.clone();
    let subscriber = Subscriber::own(&address, impatient);
    subscriber.shows_error(error).await;
    // Again, so that it is seen to come back to the same peer.
    let connections = hostile.connections.load(Ordering::Relaxed);
    subscriber.shows("another attempt", |_| hostile.connections.load(Ordering::Relaxed) > connections).await;
    let growth = rss_mib().saturating_sub(before);
    assert!(growth < GROWTH_MIB_MAX, "{error}: {growth} MiB");
    hostile.stop().await;
    let pump = Pump::start(Library::Zeromq, &address).await;
    subscriber.hears_topic("pump").await;
    subscriber.stop().await;
    pump.kill().await;
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_huge_frames() {
    for claim in [1u64 << 38, 1 << 62, u64::MAX] {
        check("a message of", move |mut stream| async move {
            introduce(&mut stream, (3, 1)).await?;
            stream.write_all(&long_header(2, claim)).await?;
            for_ever().await
        })
        .await;
    }
    check("a command of 4611686018427387904 bytes", |mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        stream.write_all(&long_header(6, 1 << 62)).await?;
        for_ever().await
    })
    .await;
    // Before the introduction is complete, too.
    check("a message of 4611686018427387904 bytes", |mut stream| async move {
        let mut out = Vec::new();
        put_greeting(&mut out, (3, 1), Mechanism::Null);
        out.extend(long_header(2, 1 << 62));
        stream.write_all(&out).await?;
        for_ever().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_multipart() {
    // 700 MB at first: the message is skipped, up to 256 MiB of it.
    check("a message of", |mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        let mut part = Vec::new();
        put_frame(&mut part, &vec![b'x'; 10 << 20], true);
        for _ in 0..70 {
            stream.write_all(&part).await?;
        }
        for_ever().await
    })
    .await;
    check("a message of more than 64 frames", |mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        let parts = [1, 1, b'x'].repeat(100_000);
        loop {
            stream.write_all(&parts).await?;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_never_introduce_themselves() {
    check("did not introduce itself", |stream| async move {
        let _open = stream;
        for_ever().await
    })
    .await;
    check("did not introduce itself", |mut stream| async move {
        let mut out = Vec::new();
        put_greeting(&mut out, (3, 1), Mechanism::Null);
        stream.write_all(&out).await?;
        for_ever().await
    })
    .await;
    // A byte at a time, for ever.
    check("did not introduce itself", |mut stream| async move {
        let mut out = Vec::new();
        put_greeting(&mut out, (3, 1), Mechanism::Null);
        for byte in out {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for_ever().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_other_kinds() {
    for (error, bytes) in [
        ("ZMTP 2.0", &b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x01"[..]),
        ("ZMTP 1.0", b"\x01\0"),
        ("is this a ZeroMQ port", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ] {
        check(error, move |mut stream| async move {
            stream.write_all(bytes).await?;
            for_ever().await
        })
        .await;
    }
    check("asks for the CURVE mechanism", |mut stream| async move {
        let mut out = Vec::new();
        put_greeting(&mut out, (3, 1), Mechanism::Null);
        out[12..17].copy_from_slice(b"CURVE");
        stream.write_all(&out).await?;
        for_ever().await
    })
    .await;
    for (error, answer) in [
        ("the peer is a SUB socket", {
            let mut out = Vec::new();
            put_ready(&mut out, "SUB");
            out
        }),
        ("refused us: go away", command("ERROR", b"\x07go away")),
        ("a message before READY", message("a", b"b")),
        ("a malformed READY", command("READY", b"\x0bSocket-Type\xff\xff\xff\xff")),
    ] {
        check(error, move |mut stream| {
            let answer = answer.clone();
            async move {
                let mut out = Vec::new();
                put_greeting(&mut out, (3, 1), Mechanism::Null);
                out.extend(answer);
                stream.write_all(&out).await?;
                for_ever().await
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshake_then_reset_backs_off_and_never_ends() {
    let hostile = Hostile::start(|mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        stream.set_zero_linger()
    })
    .await;
    let address = hostile.address.clone();
    let subscriber = Subscriber::own(&address, |config| config.backoff_max = Duration::from_millis(400));
    let started = Instant::now();
    subscriber.shows("12 cycles", |status| status.connects() >= 12).await;
    // 11 delays of at least 50, 100, 200, 200, … ms: neither a spin nor an end.
    assert!(started.elapsed() >= Duration::from_millis(1900), "{:?}", started.elapsed());
    hostile.stop().await;
    let _pump = Pump::start(Library::Zeromq, &address).await;
    subscriber.hears_topic("pump").await;
    subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_halves_mid_stream() {
    check("no frame header: flags 0xde", |mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        stream.write_all(&message("good", b"{}")).await?;
        stream.write_all(b"\xde\xad\xbe\xef").await?;
        for_ever().await
    })
    .await;
    // Half a frame, then nothing; a whole frame that promises another; a claim with nothing behind it.
    let half = message("topic", &[b'x'; 1000]);
    let half = half[..half.len() / 2].to_vec();
    for beginning in [half, vec![1, 1, b't'], long_header(2, 10_000_000), long_header(2, 100_000_000)] {
        // A peer that is known to answer PINGs must not get away with it either.
        check("begun and not completed", move |mut stream| {
            let beginning = beginning.clone();
            async move {
                introduce(&mut stream, (3, 0)).await?;
                stream.write_all(&beginning).await?;
                for_ever().await
            }
        })
        .await;
    }
    check("begun and not completed", |mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        stream.write_all(&long_header(2, 10_000_000)).await?;
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_peers() {
    // Half-open, and of a version that answers PING: left.
    check("a PING included", |mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        for_ever().await
    })
    .await;
    // 3.0: a quiet publisher is no error; it is shown, kept and heard when it speaks. Nor is it sent a PING.
    let hostile = Hostile::start(|mut stream| async move {
        introduce(&mut stream, (3, 0)).await?;
        let mut byte = [0];
        let unasked = tokio::time::timeout(Duration::from_millis(1500), stream.read(&mut byte)).await;
        let topic = if unasked.is_err() { "was.left.alone" } else { "was.disturbed" };
        stream.write_all(&message(topic, b"{}")).await?;
        for_ever().await
    })
    .await;
    let subscriber = Subscriber::own(&hostile.address, |config| {
        impatient(config);
        config.silent_after = Duration::from_millis(400);
    });
    subscriber.shows_state(EndpointState::Silent).await;
    subscriber.hears_topic("was.left.alone").await;
    assert_eq!(subscriber.status[0].disconnects(), 0);
    subscriber.stop().await;
    // Unless we were asked to connect anew.
    let subscriber =
        Subscriber::own(&hostile.address, |config| config.reconnect_after = Some(Duration::from_millis(200)));
    subscriber.shows_error("nothing came for").await;
    subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_commands() {
    // Nothing of what we answer is read.
    for (error, flood) in [
        ("more than 1000 commands", command("PING", b"\0\x0012345678")),
        ("more than 1000 commands", command("WHATEVER", b"")),
        ("READY came where it must not", command("READY", b"")),
        ("commands in the middle of a message", [vec![1, 1, b't'], command("PING", b"\0\0").repeat(20)].concat()),
    ] {
        check(error, move |mut stream| {
            let flood = flood.repeat(1000);
            async move {
                introduce(&mut stream, (3, 1)).await?;
                loop {
                    stream.write_all(&flood).await?;
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_answered_also_in_the_middle_of_a_message() {
    let hostile = Hostile::start(|mut stream| async move {
        let mut decoder = introduce(&mut stream, (3, 1)).await?;
        let mut out = command("PING", b"\0\x0acontext");
        put_frame(&mut out, b"between.pings", true);
        out.extend(command("PING", b"\0\x0aagain"));
        put_frame(&mut out, b"{}", false);
        stream.write_all(&out).await?;
        let mut answers = Vec::new();
        while answers.len() < 2 {
            while let Ok(Some(event)) = decoder.next_event() {
                if let Event::Command { name: b"PONG", data } = event {
                    answers.push(data.to_vec());
                }
            }
            let len = stream.read(decoder.space()).await?;
            decoder.filled(len);
            while let Ok(Some(event)) = decoder.next_event() {
                if let Event::Command { name: b"PONG", data } = event {
                    answers.push(data.to_vec());
                }
            }
        }
        stream.write_all(&message("answers", &answers.join(&b' '))).await?;
        for_ever().await
    })
    .await;
    let subscriber = Subscriber::own(&hostile.address, |_| {});
    subscriber.hears_topic("answers").await;
    let expect = [("between.pings".to_owned(), b"{}".to_vec()), ("answers".to_owned(), b"context again".to_vec())];
    assert_eq!(subscriber.messages(), expect);
    subscriber.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_are_skipped_and_slow_ones_heard() {
    let hostile = Hostile::start(|mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        stream.write_all(&message("too.long", &vec![b'x'; 3_000_000])).await?;
        for byte in message("slow", b"{}") {
            stream.write_all(&[byte]).await?;
        }
        stream.write_all(&message("at.the.limit", &vec![b'x'; 1_000_000])).await?;
        for_ever().await
    })
    .await;
    let subscriber = Subscriber::own(&hostile.address, |config| config.limits.body_bytes_max = 1_000_000);
    subscriber.hears_topic("at.the.limit").await;
    let topics: Vec<String> = subscriber.messages().into_iter().map(|message| message.0).collect();
    assert_eq!(topics, ["slow", "at.the.limit"]);
    assert_eq!(subscriber.rejects.count(RejectKind::BodyTooLong), 1);
    let rejected = &subscriber.rejects.last()[0];
    assert_eq!((rejected.topic.as_str(), rejected.body_bytes), ("too.long", 3_000_000));
    assert_eq!(subscriber.status[0].disconnects(), 0);
    subscriber.stop().await;
}

/// Nobody takes the messages: the queue stays within its bound, the rest is counted, the source stays live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_is_bounded() {
    const LIMIT: usize = 4 << 20;
    let counted = Arc::new(Notify::new());
    let go_on = Arc::clone(&counted);
    let hostile = Hostile::start(move |mut stream| {
        let go_on = Arc::clone(&go_on);
        async move {
            introduce(&mut stream, (3, 1)).await?;
            let block = message("flood", &[b'x'; 1000]).repeat(1000);
            for _ in 0..200 {
                stream.write_all(&block).await?;
            }
            go_on.notified().await;
            stream.write_all(&message("one.more", b"{}")).await?;
            for_ever().await
        }
    })
    .await;
    let (sender, mut receiver) = queue(LIMIT, WhenFull::Drop);
    let source = ZmtpSource::new(ZmtpConfig::new(endpoint(&hostile.address), now()), Arc::new(Rejects::new()));
    let status = source.status();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(Box::new(source).run(sender, stopped));
    let started = Instant::now();
    while status.messages() < 200_000 {
        assert!(started.elapsed() < SOON, "{:?}", status.snapshot());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let stats = receiver.stats();
    note(("slow consumer", status.snapshot().dropped_messages, stats.bytes_peak()));
    assert!(stats.bytes_peak() <= LIMIT as u64, "{stats:?}");
    assert_eq!(stats.messages() + stats.dropped_messages(), 200_000);
    assert_eq!(status.snapshot().dropped_messages, stats.dropped_messages());
    let mut kept = 0;
    while let Recv::Batch(batch) = receiver.recv_timeout(Duration::ZERO) {
        kept += batch.len() as u64;
    }
    assert_eq!(kept, 200_000 - stats.dropped_messages());
    // The receiver gone, the source ends by itself at the next message.
    drop(receiver);
    counted.notify_one();
    tokio::time::timeout(SOON, task).await.expect("ends").expect("no panic");
    drop(stop);
}

/// As above, but asked to wait: TCP pushes back, and nothing is lost however small the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_pushes_back_when_asked_to() {
    let hostile = Hostile::start(|mut stream| async move {
        introduce(&mut stream, (3, 1)).await?;
        for block in 0..200u8 {
            stream.write_all(&message("flood", &[block; 1000]).repeat(200)).await?;
        }
        for_ever().await
    })
    .await;
    let (sender, mut receiver) = queue(1 << 20, WhenFull::Wait);
    let mut config = ZmtpConfig::new(endpoint(&hostile.address), now());
    impatient(&mut config);
    let source = ZmtpSource::new(config, Arc::new(Rejects::new()));
    let status = source.status();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(Box::new(source).run(sender, stopped));
    let bodies = tokio::task::spawn_blocking(move || {
        let mut bodies = Vec::new();
        while bodies.len() < 200 * 200 {
            match receiver.recv_timeout(SOON) {
                Recv::Batch(batch) => bodies.extend(batch.iter().map(|(_, body)| body[0])),
                other => panic!("{other:?} after {} messages", bodies.len()),
            }
            // Slow: a pause of more than the deadlines for messages and PINGs, once in a while.
            if bodies.len() % 7 == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        bodies
    });
    let bodies = bodies.await.expect("all of them");
    assert!(bodies.is_sorted() && bodies.len() == 40_000, "{} messages", bodies.len());
    assert_eq!((status.disconnects(), status.snapshot().dropped_messages), (0, 0));
    stop.send(true).expect("it runs");
    tokio::time::timeout(SOON, task).await.expect("ends").expect("no panic");
}

/// Bound, we are at the mercy of whoever connects: one peer's doing is no other's trouble, and there is a limit to
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bound_to_be_connected_to_by_anybody() {
    let subscriber = Subscriber::own("bind tcp://127.0.0.1:*", |config| {
        impatient(config);
        config.peers_max = 2;
    });
    subscriber.shows_state(EndpointState::Listening).await;
    let local = subscriber.status[0].snapshot().local_address.expect("bound").replace("tcp://", "");
    let connect = || async { TcpStream::connect(&local).await.expect("accepted") };

    let mut good = connect().await;
    introduce(&mut good, (3, 0)).await.expect("introduced");
    let mut bad = connect().await;
    introduce(&mut bad, (3, 0)).await.expect("introduced");
    let mut third = connect().await;
    assert_eq!(third.read(&mut [0]).await.ok(), Some(0), "a third peer is turned away");
    subscriber.shows_error("refused a publisher: 2 are connected").await;

    bad.write_all(b"\xff\xff\xff\xff").await.expect("sent");
    subscriber.shows_error("no frame header").await;
    good.write_all(&message("undisturbed", b"{}")).await.expect("sent");
    subscriber.hears_topic("undisturbed").await;
    assert_eq!(subscriber.status[0].snapshot().peers, 1);
    drop(good);
    subscriber.shows_state(EndpointState::Listening).await;

    // One that comes and goes without a word is no trouble either, and there is room again.
    for _ in 0..50 {
        drop(connect().await);
    }
    let started = Instant::now();
    loop {
        let mut late = connect().await;
        if introduce(&mut late, (3, 1)).await.is_ok() {
            late.write_all(&message("late", b"{}")).await.expect("sent");
            subscriber.hears_topic("late").await;
            break;
        }
        assert!(started.elapsed() < SOON, "no room for a good peer");
    }
    subscriber.stop().await;
}
