//! `privacy` tells of the configuration that runs, for whoever may see all, and tells no secret.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::configuration::{Configuration, KEY, SOCKET};
use crate::support::process::{Running, run};

const SECRETS: [&str; 6] = [
    KEY,
    "hush-client-secret",
    "hush-path",
    "whsec_aHVzaC1zaWduaW5nLXNlY3JldC1vZi1zaXh0ZWVu",
    "hush-bearer-of-the-receiver",
    "hush-token-of-the-admin-address-and-more",
];

fn configuration(folder: &Path) -> Configuration {
    let files = [("sign", SECRETS[3]), ("bearer", SECRETS[4]), ("api", SECRETS[5])];
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    Configuration::of(
        "[seen]\nretention = \"91h\"\n[held]\nmax_age = \"11d\"\n[dead_letters]\nmax_age = \"17d\"\n\
         [ring]\nclient_id = \"made-up\"\nclient_secret = \"hush-client-secret\"\n\
         oauth_url = \"http://127.0.0.1:9/oauth/token\"\napi_url = \"http://127.0.0.1:9\"\n\
         [[queue]]\nname = \"web\"\nkind = \"http\"\nurl = \"http://127.0.0.1:9/hush-path?k=hush-path\"\nmax_age = \"29h\"\n\
         secret_files = [\"FOLDER/sign\"]\nbearer_file = \"FOLDER/bearer\"\nusers = [\"ann-of-the-filter\"]\n\
         [[socket]]\npath = \"FOLDER/some.sock\"\nusers = [\"ann-of-the-socket\"]\n\
         [[socket]]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"FOLDER/api\"\n",
    )
    .with(SOCKET)
}

#[test]
fn the_sheet_has_the_numbers_that_run_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(dir.path()).write(dir.path());
    let daemon = Running::start(&config);
    // Another file says other numbers, and the daemon goes on with its own.
    let later = fs::read_to_string(&config).unwrap().replace("11d", "12d");
    let asked = |socket: &str, args: &[&str]| {
        let socket = dir.path().join(socket);
        let output = run(&[&["privacy", "--socket", socket.to_str().unwrap()], args].concat(), b"");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    fs::write(&config, later).unwrap();
    let (code, page) = asked("admin.sock", &[]);
    assert_eq!(code, Some(0), "{page}");
    for words in
        ["11 days (`[held] max_age`)", "17 days (`[dead_letters] max_age`)", "91 h (`[seen] retention`)"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.contains("queue `web`: at most 29 h"), "{page}");
    assert!(page.contains("queue `web` (http): http://127.0.0.1:9\n"), "without its path: {page}");
    assert!(page.contains("some.sock`, open to the daemon's own user and root (mode 0600)"), "{page}");
    let (code, json) = asked("admin.sock", &["--json"]);
    assert_eq!(code, Some(0), "{json}");
    for hidden in SECRETS.into_iter().chain(["ann-of-the"]) {
        assert!(!page.contains(hidden) && !json.contains(hidden), "{hidden}");
    }
    let (code, refused) = asked("some.sock", &[]);
    assert_eq!((code, refused.contains("sees only some accounts or users")), (Some(1), true), "{refused}");
    daemon.stop();
}
