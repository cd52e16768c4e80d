//! Just enough of the Docker API to bring an image to the local engine without the `docker` program.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Reply};
use crate::image::Image;

/// The engine's socket: `DOCKER_HOST`, or the default.
pub fn socket(docker_host: Option<&str>) -> Result<String, String> {
    match docker_host {
        None | Some("") => Ok("/var/run/docker.sock".to_owned()),
        Some(host) => host.strip_prefix("unix://").map(str::to_owned).ok_or_else(|| {
            format!("DOCKER_HOST={host}: only unix:// is understood here; use `agent image NAME:TAG | docker load`")
        }),
    }
}

/// Brings the image to the engine, unless it is there already, under its tag. Gives the id that the engine knows it by.
pub fn load(socket: &str, image: &Image, tag: &str) -> Result<String, String> {
    if let Some((id, tags)) = inspect(socket, &image.id)? {
        if !tags.iter().any(|known| known == tag) {
            let (repository, version) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
            let path = format!("/images/{id}/tag?repo={repository}&tag={version}");
            expect(call(socket, "POST", &path, None, &[])?, "tagging the image")?;
        }
        return Ok(id);
    }
    let tar = image.tar(tag).map_err(|error| format!("{tag}: {error}"))?;
    let reply = call(
        socket,
        "POST",
        "/images/load?quiet=1",
        Some("application/x-tar"),
        &tar,
    )?;
    let said = expect(reply, "loading the image")?.text();
    // The engine answers 200 before it knows, so look: engines with the containerd store also give another id.
    match inspect(socket, tag)? {
        Some((id, _)) => Ok(id),
        None => Err(format!("the engine did not take {tag}: {}", said.trim())),
    }
}

/// An image's id and tags; nothing if there is none of that name.
fn inspect(socket: &str, name: &str) -> Result<Option<(String, Vec<String>)>, String> {
    let reply = call(socket, "GET", &format!("/images/{name}/json"), None, &[])?;
    if reply.status == 404 {
        return Ok(None);
    }
    let reply = expect(reply, "looking for the image")?;
    let image: Value =
        serde_json::from_slice(&reply.body).map_err(|error| format!("the engine's answer: {error}"))?;
    let id = image
        .get("Id")
        .and_then(Value::as_str)
        .ok_or("the engine's answer has no image id")?;
    let tags = image
        .get("RepoTags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    Ok(Some((
        id.to_owned(),
        tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
    )))
}

/// One call, with no body, for scripts: the answer's body, or what the engine said against it.
pub fn ask(socket: &str, method: &str, path: &str) -> Result<Vec<u8>, String> {
    Ok(expect(
        call(socket, method, path, None, &[])?,
        &format!("{method} {path}"),
    )?
    .body)
}

fn expect(reply: Reply, what: &str) -> Result<Reply, String> {
    if reply.is_success() {
        return Ok(reply);
    }
    Err(format!(
        "{what}: the engine answered {}: {}",
        reply.status,
        reply.text().trim()
    ))
}

fn call(socket: &str, method: &str, path: &str, kind: Option<&str>, body: &[u8]) -> Result<Reply, String> {
    let talk = || -> io::Result<Reply> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut head = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: {}\r\n",
            body.len()
        );
        if let Some(kind) = kind {
            head.push_str("Content-Type: ");
            head.push_str(kind);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        http::read_reply(&mut stream)
    };
    talk().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{socket}: {error}; add yourself to the docker group, or be root")
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("{socket}: {error}; is a Docker engine running? (`make engine` starts one)")
        }
        _ => format!("{socket}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::image::Request;

    #[test]
    fn the_socket_is_docker_hosts_or_the_default() {
        assert_eq!(socket(None).unwrap(), "/var/run/docker.sock");
        assert_eq!(
            socket(Some("unix:///run/user/1/docker.sock")).unwrap(),
            "/run/user/1/docker.sock"
        );
        assert!(
            socket(Some("tcp://10.0.0.1:2376"))
                .unwrap_err()
                .contains("agent image")
        );
    }

    /// Answers each connection with the next of these and gives back the request lines.
    fn engine(
        dir: &std::path::Path,
        answers: Vec<(u16, String)>,
    ) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let path = dir.join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                let head = String::from_utf8(request).unwrap();
                let length = head
                    .split("Content-Length: ")
                    .nth(1)
                    .unwrap()
                    .split('\r')
                    .next()
                    .unwrap();
                let mut sent = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut sent).unwrap();
                write!(stream, "HTTP/1.0 {status} x\r\n\r\n{body}").unwrap();
                asked.push(head.split(" HTTP").next().unwrap().to_owned());
            }
            asked
        });
        (path.display().to_string(), serving)
    }

    fn image() -> Image {
        Image::new(
            &Request {
                tag: "a:1".to_owned(),
                ..Request::default()
            },
            b"program",
        )
        .unwrap()
    }

    #[test]
    fn an_image_that_is_there_under_its_tag_is_not_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let image = image();
        let known = format!(r#"{{"Id":"{}","RepoTags":["a:1"]}}"#, image.id);
        let (socket, serving) = engine(dir.path(), vec![(200, known)]);
        assert_eq!(load(&socket, &image, "a:1").unwrap(), image.id);
        assert_eq!(
            serving.join().unwrap(),
            [format!("GET /images/{}/json", image.id)]
        );
    }

    #[test]
    fn an_image_that_is_there_under_another_tag_only_gets_the_tag() {
        let dir = tempfile::tempdir().unwrap();
        let image = image();
        let known = format!(r#"{{"Id":"{}","RepoTags":["a:2"]}}"#, image.id);
        let (socket, serving) = engine(dir.path(), vec![(200, known), (201, String::new())]);
        load(&socket, &image, "a:1").unwrap();
        assert_eq!(
            serving.join().unwrap()[1],
            format!("POST /images/{}/tag?repo=a&tag=1", image.id)
        );
    }

    #[test]
    fn a_load_that_the_engine_only_seemed_to_take_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let answers = vec![
            (404, "{}".to_owned()),
            (200, r#"{"error":"no space left"}"#.to_owned()),
            (404, "{}".to_owned()),
        ];
        let (socket, serving) = engine(dir.path(), answers);
        assert!(
            load(&socket, &image(), "a:1")
                .unwrap_err()
                .contains("no space left")
        );
        serving.join().unwrap();
    }
}
