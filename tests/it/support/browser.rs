//! A real browser, told what to do over WebDriver: plain JSON over HTTP to `chromedriver`, a child process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, runtime::Runtime};

use super::{SOON, look, note};

/// Names under which the browser is installed.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A folder for pictures of what was tested, for people to look at.
const PICTURES: &str = "STATSCACHE_SCREENSHOTS";

/// Keys, as WebDriver writes them.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e006}";
pub const SPACE: &str = "\u{e00d}";

/// A browser with one window.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    runtime: Runtime,
}

impl Browser {
    /// Starts one. Without Chromium on this machine it says loudly what is left out, and fails when that was forbidden.
    pub fn start() -> Option<Self> {
        let binary = installed()?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver says its port")));
        // It goes on writing, to nobody.
        std::thread::spawn(move || lines.for_each(drop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut browser = Self { driver, address, session: String::new(), runtime };
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1400,1000",
            "--lang=en-US",
        ];
        let options = json!({"binary": binary, "args": args});
        let capabilities =
            json!({"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let session = browser.call(Method::POST, "/session", &json!({"capabilities": {"alwaysMatch": capabilities}}));
        browser.session = session["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {session}")).to_owned();
        Some(browser)
    }

    /// What the driver answers.
    fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let body = if method == Method::POST { body.to_string() } else { String::new() };
        let exchange = async {
            let stream = TcpStream::connect(self.address).await?;
            let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let request = Request::builder()
                .method(&method)
                .uri(path)
                .header(header::HOST, self.address.to_string())
                .header(header::CONTENT_TYPE, "application/json");
            let response = client.send_request(request.body(Full::<Bytes>::from(body))?).await?;
            let bytes = response.into_body().collect().await?.to_bytes();
            connection.abort();
            anyhow::Ok(serde_json::from_slice::<Value>(&bytes)?)
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(SOON * 2, exchange).await });
        let mut answer = answer
            .unwrap_or_else(|_| panic!("{method} {path}: the browser does not answer"))
            .unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{method} {path}: {value:#}");
        value
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.call(Method::POST, &format!("/session/{}/{name}", self.session), body)
    }

    /// Orders that WebDriver has no words for.
    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// What a function's body returns in the page.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// What an expression is.
    pub fn eval(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression})"))
    }

    /// An expression that is a text.
    pub fn text(&self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true; gives what it is.
    pub fn wait(&self, expression: &str) -> Value {
        self.wait_within(SOON, expression)
    }

    pub fn wait_within(&self, deadline: Duration, expression: &str) -> Value {
        let is_true = |value: &Value| {
            !matches!(value, Value::Null | Value::Bool(false)) && value != &json!(0) && value != &json!("")
        };
        look(deadline, || Some(self.eval(expression)).filter(is_true)).unwrap_or_else(|| {
            let text = self.text("document.body.innerText");
            panic!("not within {deadline:?}: {expression}\n{:#?}\n{text}", self.log());
        })
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: &[&str]) {
        let strokes: Vec<Value> = keys
            .iter()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})])
            .collect();
        self.command("actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}));
    }

    /// Types a text.
    pub fn write(&self, text: &str) {
        let keys: Vec<String> = text.chars().map(String::from).collect();
        self.press(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// A window of that size.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// As somebody has it who prefers dark pages, or light ones.
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
    }

    /// As somebody has it who is elsewhere; for pages that are opened from then on.
    pub fn live_in(&self, zone: &str) {
        self.devtools("Emulation.setTimezoneOverride", &json!({"timezoneId": zone}));
    }

    /// What the console said since it was asked last.
    pub fn log(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({"type": "browser"}));
        let lines = log.as_array().into_iter().flatten();
        lines.map(|line| format!("{}: {}", line["level"], line["message"])).collect()
    }

    /// Keeps a picture of the whole page, where somebody wants to look at it.
    pub fn picture(&self, name: &str) {
        let Some(dir) = std::env::var_os(PICTURES).map(PathBuf::from) else { return };
        let size = self.eval("[document.documentElement.clientWidth, document.documentElement.scrollHeight]");
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1});
        let options = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.devtools("Page.captureScreenshot", &options);
        fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join(format!("{name}.png"));
        fs::write(&path, base64(picture["data"].as_str().expect("a picture"))).expect("written");
        note(&format!("picture: {}", path.display()));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, the driver when it is told.
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call(Method::DELETE, &format!("/session/{}", self.session), &Value::Null);
        } else if !self.session.is_empty() {
            let end = || self.call(Method::DELETE, &format!("/session/{}", self.session), &Value::Null);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Where the browser is.
fn installed() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH")?;
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let find = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        find("chromedriver")?;
        NAMES.iter().find_map(|name| find(name))
    });
    if found.is_none() {
        let required = std::env::var_os("STATSCACHE_REQUIRE_CHROMIUM").is_some_and(|value| value == "1");
        assert!(!required, "STATSCACHE_REQUIRE_CHROMIUM=1, and there is no chromium with chromedriver");
        note("SKIPPED: chromium with chromedriver not found: the page was not tested");
    }
    found.clone()
}

/// Bytes from base64, of which WebDriver makes pictures.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0_u32);
    for digit in digits {
        held = (held << 6 | digit as u32) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}
