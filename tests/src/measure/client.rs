//! A client of HTTP: one connection that stays open, one question after the other. And one that sends questions
//! at a rate, and tells how long each answer took.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
pub(super) use statscache_server::bench::quantile;

/// A connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer.
pub(super) struct Answer {
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks; anything but 200 is an error.
    pub(super) fn get(&mut self, target: &str) -> anyhow::Result<Answer> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: measure\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let len = headers.iter().find(|(name, _)| name == "content-length");
        let (_, len) = len.with_context(|| format!("{target}: no content-length: {status}"))?;
        let mut body = vec![0; len.parse()?];
        self.stream.read_exact(&mut body)?;
        ensure!(status.contains(" 200 "), "{target}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(Answer { headers, body })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

/// Sends so many questions a second on so many connections, and says how long each answer took, in microseconds, in
/// order of size. A question that had to wait because the answer before it on its connection was late has that in
/// its time; that the client itself woke up late has not.
pub(super) fn ask_at_rate(
    address: SocketAddr,
    target: &str,
    rate: f64,
    connections: u32,
    time: Duration,
) -> anyhow::Result<Vec<f64>> {
    let every = Duration::from_secs_f64(f64::from(connections) / rate);
    let start = Instant::now();
    let mut micros = thread::scope(|scope| {
        let ask = |number: u32| ask_every(address, target, start + every * number / connections, every, start + time);
        let threads: Vec<_> = (0..connections).map(|number| scope.spawn(move || ask(number))).collect();
        let answers = threads.into_iter().map(|it| it.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
        answers.collect::<anyhow::Result<Vec<_>>>().map(|each| each.concat())
    })?;
    micros.sort_by(f64::total_cmp);
    Ok(micros)
}

fn ask_every(
    address: SocketAddr,
    target: &str,
    first: Instant,
    every: Duration,
    end: Instant,
) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(address)?;
    let (mut due, mut micros) = (first, Vec::new());
    while due < end {
        let wait = due.saturating_duration_since(Instant::now());
        thread::sleep(wait);
        let asked = if wait.is_zero() { due } else { Instant::now() };
        client.get(target)?;
        micros.push(asked.elapsed().as_secs_f64() * 1e6);
        due += every;
    }
    Ok(micros)
}
