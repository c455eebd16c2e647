//! `hot-query`: the same question again and again, against nginx with the same bytes in a file, and axum with the same
//! bytes in memory. Each server on one core, the load on another, in turns. nginx stands for itself twice, with
//! `sendfile` and without; which is better depends on the kernel.

use std::net::SocketAddr;

use super::{
    Figure, ceiling,
    client::Client,
    median,
    process::{Daemon, Role, SERVER_CORE},
    stream, wrk,
};

/// nginx's rate of a CPU second divided by ours: at least 0.9 of it.
const BAR: f64 = 1.11;
const MESSAGES: u64 = 50_000;

/// One who serves.
struct Server<'r> {
    name: &'static str,
    role: &'r Role,
    address: SocketAddr,
    rates: Vec<f64>,
    p99s: Vec<f64>,
}

impl<'r> Server<'r> {
    fn new(name: &'static str, role: &'r Role, address: SocketAddr) -> Self {
        Self { name, role, address, rates: Vec::new(), p99s: Vec::new() }
    }

    /// Requests of a CPU second, and the latency; remembered.
    fn load(&mut self, target: &str, secs: u64) -> anyhow::Result<f64> {
        let before = self.role.cpu_secs()?;
        let load = wrk::run(self.address, target, secs)?;
        let rate = load.requests / (self.role.cpu_secs()? - before);
        self.rates.push(rate);
        self.p99s.push(load.p99_micros);
        Ok(rate)
    }
}

/// The question: nine minutes, about 1,000 bytes.
pub(super) fn target() -> String {
    format!("/plugins/volume/messages?start={}&end={}&step=1m", stream::FIRST_SECS, stream::END_SECS)
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    // Short ones: what the machine does for others comes and goes within seconds, and should meet all alike.
    let (secs, rounds) = (1, if quick { 5 } else { 15 });
    let mut publisher = Role::start(&["publisher", &MESSAGES.to_string()])?;
    let daemon = Daemon::start_on(SERVER_CORE, &format!("tcp://127.0.0.1:{}", publisher.line()?))?;
    daemon.wait_processed(MESSAGES)?;
    let target = target();
    let answer = Client::connect(daemon.http())?.get(&target)?;
    println!(
        "{rounds} rounds of {secs} s each, {} connections, {} bytes of {target}",
        wrk::CONNECTIONS,
        answer.body.len()
    );
    let dir = tempfile::tempdir()?;
    let (by_sendfile, sendfile_address) = ceiling::nginx(dir.path(), &target, &answer, true)?;
    let (by_write, write_address) = ceiling::nginx(dir.path(), &target, &answer, false)?;
    let (axum, axum_address) = ceiling::bare_axum(dir.path(), &target, &answer)?;
    let mut servers = [
        Server::new("daemon", &daemon.role, daemon.http()),
        Server::new("nginx, sendfile", &by_sendfile, sendfile_address),
        Server::new("nginx, writev", &by_write, write_address),
        Server::new("bare axum", &axum, axum_address),
    ];
    compare(&mut servers, &target, secs, rounds)
}

fn compare(servers: &mut [Server<'_>; 4], target: &str, secs: u64, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    for server in servers.iter_mut() {
        wrk::run(server.address, target, 1)?;
    }
    let mut ratios = [(); 4].map(|()| Vec::new());
    for round in 1..=rounds {
        let mut rates = [0.0; 4];
        for (server, rate) in servers.iter_mut().zip(&mut rates) {
            *rate = server.load(target, secs)?;
        }
        let told = servers.iter().zip(rates).map(|(server, rate)| format!("{} {:.2}", server.name, 1e6 / rate));
        println!("round {round}: us of CPU a request: {}", told.collect::<Vec<_>>().join("; "));
        for (ratios, rate) in ratios.iter_mut().zip(rates) {
            ratios.push(rate / rates[0]);
        }
    }
    for server in servers {
        let (rate, p99) = (median(&mut server.rates), median(&mut server.p99s));
        // In order now.
        let best = server.rates.last().copied().unwrap_or(rate);
        println!(
            "{:<16} {rate:>8.0} requests of a CPU second, {:.2} us each, {:.2} us in the best round; p99 {p99:.0} us",
            server.name,
            1e6 / rate,
            1e6 / best
        );
    }
    println!("p99 at full load: how long {} connections wait for one core", wrk::CONNECTIONS);
    let [_, sendfile, writev, axum] = ratios.map(|mut ratios| median(&mut ratios));
    let nginx = sendfile.max(writev);
    Ok(vec![
        Figure { what: "nginx's rate of a CPU second (the better way) / ours", value: nginx, unit: "x", bar: BAR },
        Figure { what: "bare axum's rate of a CPU second / ours", value: axum, unit: "x", bar: BAR },
    ])
}
