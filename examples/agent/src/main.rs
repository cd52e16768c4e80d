//! The example fleet's workload. One static file, so that its image needs no base, no builder and no registry.

mod dns;
mod engine;
mod hammer;
mod http;
mod image;
mod json;
mod serve;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crate::http::Url;
use crate::image::{Image, Request};

const USAGE: &str = "\
agent [serve]                     answers on port 8080 (AGENT_PORT): / /healthz /context /spirit /env /sleep?ms=N
                                  AGENT_FAIL=unhealthy|exit|slow makes it fail; AGENT_START_MS delays its start
agent check [URL]                 0 if URL answers 2xx within 2 s (default: its own /healthz)
agent get URL                     prints the body
agent hammer URL [--every-ms 5] [--for-ms N] [--until FILE] [--timeout-ms 5000]
                                  a new look-up and a new connection for every request; one JSON line at the end
agent image NAME:TAG [--env K=V]… [--no-healthcheck]       a `docker load` tar of an image with this program
agent image-id NAME:TAG [--env K=V]… [--no-healthcheck]    that image's id
agent load NAME:TAG [--env K=V]… [--no-healthcheck]        brings it to the local engine and prints its id
agent engine METHOD PATH          one call of the Docker API at DOCKER_HOST or the default socket, e.g. GET /_ping
agent json PATH                   what stands there in the JSON document on stdin, e.g. rings[name=dev].phase; 1 if nothing
";

/// What went wrong, and whether it was how the program was called.
enum Problem {
    Usage(String),
    Failed(String),
}

impl From<String> for Problem {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(Problem::Failed(what)) => {
            eprintln!("agent: {what}");
            ExitCode::FAILURE
        }
        Err(Problem::Usage(what)) => {
            eprint!("agent: {what}\n\n{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn run(arguments: Vec<String>) -> Result<u8, Problem> {
    let mut arguments = arguments.into_iter();
    let verb = arguments.next().unwrap_or_else(|| "serve".to_owned());
    let mut options = Options::read(arguments.collect())?;
    let code = match verb.as_str() {
        "serve" => {
            options.end()?;
            serve::run()?
        }
        "check" => {
            let url = options.word().unwrap_or_else(own_health);
            options.end()?;
            check(&url)?
        }
        "get" => {
            let url = url(&options.needed("a URL")?)?;
            options.end()?;
            let reply = http::get(&url, Duration::from_secs(5)).map_err(|failure| failure.to_string())?;
            io::stdout()
                .write_all(&reply.body)
                .map_err(|error| error.to_string())?;
            u8::from(!reply.is_success())
        }
        "hammer" => hammer::run(&hammer_order(options)?)?,
        "engine" => {
            let (method, path) = (options.needed("a method")?, options.needed("a path")?);
            options.end()?;
            let socket = engine::socket(std::env::var("DOCKER_HOST").ok().as_deref())?;
            let body = engine::ask(&socket, &method, &path)?;
            io::stdout().write_all(&body).map_err(|error| error.to_string())?;
            0
        }
        "json" => {
            let path = options.needed("a path")?;
            options.end()?;
            let document = serde_json::from_reader(io::stdin()).map_err(|error| format!("stdin: {error}"))?;
            let found = json::pick(&document, &path).map_err(Problem::Usage)?;
            for value in &found {
                println!("{value}");
            }
            u8::from(found.is_empty())
        }
        "image" | "image-id" | "load" => make_image(&verb, options)?,
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            0
        }
        other => return Err(Problem::Usage(format!("no verb {other}"))),
    };
    Ok(code)
}

fn own_health() -> String {
    format!(
        "http://127.0.0.1:{}/healthz",
        std::env::var("AGENT_PORT").unwrap_or_else(|_| "8080".to_owned())
    )
}

fn url(text: &str) -> Result<Url, Problem> {
    Url::parse(text).map_err(Problem::Usage)
}

fn check(text: &str) -> Result<u8, Problem> {
    match http::get(&url(text)?, Duration::from_secs(2)) {
        Ok(reply) if reply.is_success() => Ok(0),
        Ok(reply) => Err(format!("{text}: {} {}", reply.status, reply.text().trim()).into()),
        Err(failure) => Err(format!("{text}: {failure}").into()),
    }
}

fn hammer_order(mut options: Options) -> Result<hammer::Order, Problem> {
    let order = hammer::Order {
        url: url(&options.needed("a URL")?)?,
        every: options
            .milliseconds("--every-ms")?
            .unwrap_or(Duration::from_millis(5)),
        timeout: options
            .milliseconds("--timeout-ms")?
            .unwrap_or(Duration::from_secs(5)),
        lasting: options.milliseconds("--for-ms")?,
        until: options.value("--until").map(Into::into),
    };
    options.end()?;
    Ok(order)
}

fn make_image(verb: &str, mut options: Options) -> Result<u8, Problem> {
    let tag = options.needed("NAME:TAG")?;
    image::check_tag(&tag).map_err(Problem::Usage)?;
    let mut request = Request {
        tag,
        no_healthcheck: options.flag("--no-healthcheck"),
        env: Vec::new(),
    };
    while let Some(pair) = options.value("--env") {
        if pair.find('=').is_none_or(|at| at == 0) {
            return Err(Problem::Usage(format!("--env {pair}: KEY=VALUE")));
        }
        request.env.push(pair);
    }
    options.end()?;
    let itself = std::fs::read("/proc/self/exe").map_err(|error| format!("/proc/self/exe: {error}"))?;
    if image::needs_loader(&itself) != Some(false) {
        let what = "this program is not static, so it could not start in an image of its own; build it with scripts/build-agent";
        return Err(what.to_owned().into());
    }
    let made = Image::new(&request, &itself).map_err(|error| format!("{}: {error}", request.tag))?;
    match verb {
        "image-id" => println!("{}", made.id),
        "load" => {
            let socket = engine::socket(std::env::var("DOCKER_HOST").ok().as_deref())?;
            println!("{}", engine::load(&socket, &made, &request.tag)?);
        }
        _ => {
            let tar = made
                .tar(&request.tag)
                .map_err(|error| format!("{}: {error}", request.tag))?;
            io::stdout()
                .write_all(&tar)
                .map_err(|error| format!("writing the image: {error}"))?;
        }
    }
    Ok(0)
}

/// The words and options after the verb; each is taken once, and what is left over is an error.
struct Options {
    words: Vec<String>,
    values: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Options {
    fn read(arguments: Vec<String>) -> Result<Self, Problem> {
        let mut read = Self {
            words: Vec::new(),
            values: Vec::new(),
            flags: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--no-healthcheck" {
                read.flags.push(argument);
            } else if argument.starts_with("--") {
                let value = arguments
                    .next()
                    .ok_or_else(|| Problem::Usage(format!("{argument} needs a value")))?;
                read.values.push((argument, value));
            } else {
                read.words.push(argument);
            }
        }
        Ok(read)
    }

    fn word(&mut self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    fn needed(&mut self, what: &str) -> Result<String, Problem> {
        self.word()
            .ok_or_else(|| Problem::Usage(format!("{what} is missing")))
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|flag| flag != name);
        self.flags.len() < before
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let at = self.values.iter().position(|(key, _)| key == name)?;
        Some(self.values.remove(at).1)
    }

    fn milliseconds(&mut self, name: &str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.value(name) else {
            return Ok(None);
        };
        let ms = text
            .parse()
            .map_err(|_| Problem::Usage(format!("{name} {text}: not a number")))?;
        Ok(Some(Duration::from_millis(ms)))
    }

    fn end(self) -> Result<(), Problem> {
        let values = self.values.into_iter().map(|(name, _)| name);
        match self.words.into_iter().chain(values).chain(self.flags).next() {
            Some(left) => Err(Problem::Usage(format!("{left} is not understood here"))),
            None => Ok(()),
        }
    }
}
