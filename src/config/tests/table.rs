//! One thing wrong at a time: what stands after the base, and the line that an operator reads.

pub(super) const AFTER_BASE: &[(&str, &str)] = &[
    ("create = 1", "5: store.create = 1: must be true or false"),
    (
        r#"environment = "a b""#,
        r#"5: store.environment = "a b": not a name of at most 64 letters, digits, - and _; write one such as "production""#,
    ),
    (r#"max_bytes = "8 gigs""#, r#"5: store.max_bytes = "8 gigs": not a size; write one such as "8 GiB""#),
    ("max_bytes = 8", r#"5: store.max_bytes = 8: not a size; write one such as "8 GiB""#),
    (r#"cache = "1 KiB""#, r#"5: store.cache = "1 KiB": must be 1 MiB to 2 GiB"#),
    (r#"min_fre = "1 MiB""#, "5: store.min_fre: unknown key; did you mean min_free?"),
    (
        "something_else = 3",
        "5: store.something_else: unknown key; known here: folder, create, environment, max_bytes, cache, reserve, min_free, compact_above",
    ),
    ("[webhok]", "5: webhok: unknown key; did you mean webhook?"),
    ("[[webhook]]", "5: webhook: is a table; write [webhook]"),
    (
        "[webhook]\npath = \"hook\"",
        r#"6: webhook.path = "hook": not a URL path of at most 255 plain characters; write one such as "/webhooks/ring""#,
    ),
    (
        "[webhook]\npath = \"/hook?x=1\"",
        r#"6: webhook.path = "/hook?x=1": not a URL path of at most 255 plain characters; write one such as "/webhooks/ring""#,
    ),
    (
        "[ring]\nclient_id = \"me\"",
        "5: ring.client_secret_file: is missing: the file with the secret that belongs to client_id",
    ),
    ("[ring]\nclient_secret = \"s\"", "5: ring.client_id: is missing; Ring shows it with the client secret"),
    (
        "[ring]\nclient_id = \"me\"\nclient_secret = \"s\"\nclient_secret_file = \"/s\"",
        r#"8: ring.client_secret_file = "/s": is there beside client_secret; write one of them"#,
    ),
    (
        "[ring]\noauth_url = \"oauth.ring.com\"",
        r#"6: ring.oauth_url = "oauth.ring.com": not an https address; write one such as "https://oauth.ring.com/oauth/token""#,
    ),
    (
        "[ring]\noauth_url = \"http://oauth.ring.com\"",
        "6: ring.oauth_url: write https://; plain http:// is for loopback addresses only, since secrets would be read on the way",
    ),
    (
        "[ring]\napi_url = \"https://user:hush@localhost\"",
        "6: ring.api_url: take the user and password out of the address",
    ),
    ("[ring]\nrequests_per_second = 100", "6: ring.requests_per_second = 100: must be 1 to 95"),
    (
        "[ring]\nconnect_timeout = \"8s\"",
        r#"6: ring.connect_timeout = "8s": must be shorter than call_timeout"#,
    ),
    (
        "[ring]\nanswer_timeout = \"5s\"",
        r#"6: ring.answer_timeout = "5s": must not be shorter than call_timeout"#,
    ),
    (
        "[linking]\ncode_path = \"/webhooks/ring\"",
        r#"6: linking.code_path = "/webhooks/ring": is webhook.path; each needs a path of its own"#,
    ),
    (
        "[linking]\nlink_path = \"/ring/token\"",
        r#"6: linking.link_path = "/ring/token": is code_path; each needs a path of its own"#,
    ),
    (
        "[ring]\nclient_id = \"me\"\nclient_secret = \"s\"\nrequests_per_second = 90\n[linking]\ncodes_per_second = 6",
        "10: linking.codes_per_second = 6: must be at most 5 beside ring.requests_per_second = 90: Ring allows 100 for both, and \
         some room is needed",
    ),
    (
        "[linking]\nsign_in_url = \"/sign-in\"",
        r#"6: linking.sign_in_url = "/sign-in": not an https address without #; write one such as "https://example.com/ring/sign-in""#,
    ),
    (
        "[linking]\nforget_after_removal = \"1h\"",
        r#"6: linking.forget_after_removal = "1h": must be 1d to 3650d"#,
    ),
    ("[linking]\nclock_skew = \"1h\"", r#"6: linking.clock_skew = "1h": must be 0ms to 5m"#),
    ("[tokens]\nrefresh = \"30d\"", r#"6: tokens.refresh = "30d": must be 1h to 20d"#),
    (
        "[tokens]\nrefresh = \"always\"",
        r#"6: tokens.refresh = "always": not a duration or "always-fresh"; write one such as "24h""#,
    ),
    (
        "[tokens]\nwarn_before = [\"2d\", \"5d\", \"10d\"]",
        r#"6: tokens.warn_before = ["2d", "5d", "10d"]: takes three times, the longest first: ["10d", "5d", "2d"]"#,
    ),
    (
        "[tokens]\nguard_folder = \"d/guard\"",
        r#"6: tokens.guard_folder = "d/guard": lies in store.folder; what is restored with the store guards nothing"#,
    ),
    ("[webhook]\nmax_body = \"1 TiB\"", r#"6: webhook.max_body = "1 TiB": must be 64 KiB to 64 MiB"#),
    ("[webhook]\nmax_body = -1", r#"6: webhook.max_body = -1: not a size; write one such as "1 MiB""#),
    (
        "[webhook]\nbody_timeout = \"4s\"",
        r#"6: webhook.body_timeout = "4s": must be shorter than answer_within, which is 4s"#,
    ),
    ("[webhook]\nanswer_within = \"5s\"", r#"6: webhook.answer_within = "5s": must be 100ms to 4500ms"#),
    (
        "[webhook]\nlate_after = \"2 parsecs\"",
        r#"6: webhook.late_after = "2 parsecs": not a duration; write one such as "2h""#,
    ),
    (
        "[webhook]\nlate_after = 7200",
        r#"6: webhook.late_after = 7200: not a duration; write one such as "2h""#,
    ),
    (
        "[webhook]\nlate_after = \"18446744073709551615s 1000ms\"",
        r#"6: webhook.late_after = "18446744073709551615s 1000ms": not a duration; write one such as "2h""#,
    ),
    (
        "[http]\nmax_headers = 100000000000000000000000",
        "6: http.max_headers = 100000000000000000000000: not a whole number; write one such as 100",
    ),
    ("[http]\nmax_headers = 0", "6: http.max_headers = 0: must be 16 to 1000"),
    (
        "[http]\nmax_connections = \"many\"",
        r#"6: http.max_connections = "many": not a whole number; write one such as 1024"#,
    ),
    ("[http]\nmax_header_bytes = \"4 KiB\"", r#"6: http.max_header_bytes = "4 KiB": must be 8 KiB to 1 MiB"#),
    (
        "[webhook]\nmax_body = \"64 MiB\"\n[http]\nmax_bytes_in_flight = \"32 MiB\"",
        r#"8: http.max_bytes_in_flight = "32 MiB": must be at least webhook.max_body, which is 64 MiB"#,
    ),
    (
        "[keys]\nmaster = \"0011223344556677001122334455667700112233445566770011223344556677\"",
        "6: keys.master: must be a path that starts with / or ./, or credential:NAME; the secret itself belongs into that file",
    ),
    (
        "[keys]\nmaster = \"credential:../x\"",
        "6: keys.master: names no credential: after credential: comes a file name of at most 255 letters, digits, - _ . @",
    ),
    (
        "[keys]\nmaster = \"/k\"\nprevious = \"/k\"",
        r#"7: keys.previous = "/k": is the master key itself; name the one before, or nothing"#,
    ),
    ("[seen]\nretention = \"75h\"", r#"6: seen.retention = "75h": must be 76h to 365d"#),
    ("[seen]\nmax_ids = 2.5", "6: seen.max_ids = 2.5: not a whole number; write one such as 2000000"),
    (
        "[held]\nmax_bytes = \"1 GiB\"",
        r#"6: held.max_bytes = "1 GiB": is for one account; total_bytes, for all, is only 512 MiB"#,
    ),
    ("[dead_letters]\nmax_age = \"0s\"", r#"6: dead_letters.max_age = "0s": must be 1s to 365d"#),
    (
        "[quarantine]\nmax_events = true",
        "6: quarantine.max_events = true: not a whole number; write one such as 10000",
    ),
    ("[unrouted]\nmax_age = \"\"", r#"6: unrouted.max_age = "": not a duration; write one such as "7d""#),
    (
        "[unrouted]\nmax_bytes = \"7 GiB\"",
        "3: store.max_bytes: must be at least 8256 MiB (it is 8 GiB), the sum of held.total_bytes 512 MiB, dead_letters.max_bytes 512 MiB, quarantine.max_bytes 64 MiB, unrouted.max_bytes 7 GiB; raise it or lower those",
    ),
    ("[receipts]\nmax_bytes = \"5 GiB\"", r#"6: receipts.max_bytes = "5 GiB": must be 0 B to 4 GiB"#),
    ("[queue]\nname = \"a\"", "5: queue: is a list of tables; write [[queue]]"),
    ("[[queue]]\nkind = \"embedded\"", r#"5: queue[0].name: is missing; write one such as name = "alerts""#),
    ("[[queue]]\nname = \"a\"", r#"5: queue[0].kind: is missing; write one such as kind = "embedded""#),
    (
        "[[queue]]\nname = \"a b\"\nkind = \"embedded\"",
        r#"6: queue[0].name = "a b": not a name of at most 64 letters, digits, - _ and . (not as the first); write one such as "alerts""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"kafka\"",
        r#"7: queue[0].kind = "kafka": must be one of "embedded", "spool", "http", "redis", "nats", "mqtt", "postgres", "amqp", "sqs""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"kafka\"\nfolder = \"f\"\nvisibility = \"1s\"",
        r#"7: queue[0].kind = "kafka": must be one of "embedded", "spool", "http", "redis", "nats", "mqtt", "postgres", "amqp", "sqs""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nfolder = \"f\"",
        r#"8: queue[0].folder = "f": only for kind = "spool""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"spool\"",
        r#"5: queue[0].folder: is missing; write one such as folder = "/var/spool/ringhookd/alerts""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"spool\"\nfolder = \"f\"\nvisibility = \"30s\"",
        r#"9: queue[0].visibility = "30s": only for kind = "embedded""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"spool\"\nfolder = \"f\"\n[[queue]]\nname = \"b\"\nkind = \"spool\"\nfolder = \"f\"",
        r#"12: queue[1].folder = "f": is the folder of queue[0] already"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"spool\"\nfolder = \"./d/spool\"",
        r#"8: queue[0].folder = "./d/spool": lies in store.folder, which no reader can enter; name a folder beside it"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\n[[queue]]\nname = \"a\"\nkind = \"embedded\"",
        r#"9: queue[1].name = "a": is the name of queue[0] already"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\ntypes = \"*\"",
        r#"8: queue[0].types = "*": not a list; write it in brackets: ["…"]"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\ntypes = [\"a\", \"*_detected\"]",
        r#"8: queue[0].types[1] = "*_detected": has a * that is not at the end"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\ntypes = [\"a\",\n  7]",
        "9: queue[0].types[1] = 7: must be a text in quotes",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nusers = [\"\"]",
        r#"8: queue[0].users[0] = "": can't be an id: it is empty"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nusers = [\"ann\"]\nunclaimed = \"deliver\"",
        r#"9: queue[0].unclaimed = "deliver": no unclaimed event passes the filter on users; write "hold", or take out users"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nunclaimed = \"drop\"",
        r#"8: queue[0].unclaimed = "drop": must be one of "hold", "deliver""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nformat = \"xml\"",
        r#"8: queue[0].format = "xml": must be one of "cloudevents", "cloudevents-binary", "raw""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nformat = \"cloudevents-binary\"",
        r#"8: queue[0].format = "cloudevents-binary": only for a kind with headers"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"http://broker\"",
        "8: queue[0].url: begin the address with mqtt:// or mqtts://",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker/ring\"",
        "8: queue[0].url: ends with the port: a broker has no path. Topics are written as topic",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\ntopic = \"ring/#\"",
        r#"9: queue[0].topic = "ring/#": can't hold + or #: they are for subscriptions"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\ntopic = \"$SYS/{user}\"",
        r#"9: queue[0].topic = "$SYS/{user}": can't begin with $: such topics are the broker's own"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\ntopic = \"ring\\u0000{user}\"",
        r#"9: queue[0].topic = "ring\u0000{user}": can't hold a control character"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\nhome_assistant = \"yes\"",
        r#"9: queue[0].home_assistant = "yes": must be true or false"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\ndiscovery_prefix = \"ha\"",
        r#"9: queue[0].discovery_prefix = "ha": only for home_assistant = true"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\nhome_assistant = true\ndiscovery_prefix = \"a//b\"",
        r#"10: queue[0].discovery_prefix = "a//b": not a topic of at most 128 bytes without +, # and empty parts; write one such as "homeassistant""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\nhome_assistant = true\ntopic = \"homeassistant/{device}\"",
        r#"10: queue[0].topic = "homeassistant/{device}": begins with discovery_prefix: those topics are Home Assistant's"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://receiver/\"\ntopic = \"ring\"",
        r#"9: queue[0].topic = "ring": only for kind = "mqtt""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"postgres\"\nusername = \"u\"\nurl = \"postgres://hush\"",
        "9: queue[0].url: the path is the name of a database, such as /events; nothing follows it",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"postgres\"\nurl = \"postgres://r/db\"",
        r#"5: queue[0].username: is missing; write the server's name for us, such as username = "ringhookd""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"postgres\"\nurl = \"postgres://r/db\"\nusername = \"u\"\ntable = \"a;b\"",
        r#"10: queue[0].table = "a;b": is no name of a table: write table or schema.table, each of at most 63 letters, digits and _, and no digit first"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"postgres\"\nurl = \"postgres://r/db\"\nusername = \"u\"\nformat = \"raw\"",
        r#"10: queue[0].format = "raw": only for kinds other than postgres"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"mqtt://broker\"",
        "8: queue[0].url: begin the address with amqp:// or amqps://",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"amqp://hush/a/b\"",
        "8: queue[0].url: the path is the name of a virtual host, such as /events, with %2F for each / in the name",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"amqp://broker\"\nusername = \"ann\"",
        "9: queue[0].username: goes with password_file, which is missing",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"amqp://broker\"\nexchange = \"{user}\"",
        r#"9: queue[0].exchange = "{user}": must begin with a text of your own, such as ring-{user}, so that no id names an exchange of others"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"amqp://broker\"\nexchange = \"\"\nrouting_key = \"{user}\"",
        r#"10: queue[0].routing_key = "{user}": names a queue, because of exchange = ""; begin it with a text of your own, so that no id names a queue of others"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"amqp://broker\"\nrouting_key = \"ring.*\"",
        r#"9: queue[0].routing_key = "ring.*": can't hold * or #: they are for bindings"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"amqp\"\nurl = \"amqp://broker\"\nrouting_key = \"ring\\u0007\"",
        r#"9: queue[0].routing_key = "ring\u0007": holds a control character"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"mqtt\"\nurl = \"mqtt://broker\"\nexchange = \"ring\"",
        r#"9: queue[0].exchange = "ring": only for kind = "amqp""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"redis\"\nurl = \"redis://hush/five\"",
        "8: queue[0].url: the path is the number of a database, such as /0; nothing follows it",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"redis\"\nurl = \"redis://r\"\nstream = \"ring:{usr}\"",
        r#"9: queue[0].stream = "ring:{usr}": has an unknown {usr}; known are {user}, {account}, {device}, {type} and {subtype}"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"redis\"\nurl = \"redis://r\"\nsecret_files = []",
        "9: queue[0].secret_files: only for kind = \"http\"",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"",
        r#"5: queue[0].url: is missing; write one such as url = "https://sqs.eu-west-1.amazonaws.com/123456789012/ring""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"http://sqs.eu-west-1.amazonaws.com/1/hush\"",
        "8: queue[0].url: write https://; plain http:// is for loopback addresses only, since the session token would be read on the way",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"https://sqs.eu-west-1.amazonaws.com/\"",
        "8: queue[0].url: ends with the account and the name of the queue, such as /123456789012/ring; nothing follows it",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"https://queue.amazonaws.com/1/hush\"",
        r#"5: queue[0].region: is missing, and the host of url does not tell it; write one such as region = "eu-west-1""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"http://127.0.0.1/1/q\"\nregion = \"EU\"",
        r#"9: queue[0].region = "EU": not a region; write one such as "eu-west-1""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\naccess_key_id = \"HUSH\"",
        "9: queue[0].access_key_id: goes with secret_key_file, which is missing",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\nsession_token_file = \"./t\"",
        "9: queue[0].session_token_file: goes with secret_key_file, which is missing",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\naccess_key_id = \"HUSH\"\nsecret_key_file = \"hush\"",
        "10: queue[0].secret_key_file: must be a path that starts with / or ./, or credential:NAME; the secret itself belongs into that file",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"sqs\"\nurl = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\nformat = \"cloudevents-binary\"",
        r#"9: queue[0].format = "cloudevents-binary": only for a kind with headers"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://r/\"\nregion = \"eu-west-1\"",
        r#"9: queue[0].region = "eu-west-1": only for kind = "sqs""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"",
        r#"5: queue[0].url: is missing; write one such as url = "http://127.0.0.1:8080/ring""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"receiver:8080\"",
        "8: queue[0].url: write a whole address, such as https://host/path",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://ann@receiver/\"",
        "8: queue[0].url: take the user and password out of the address",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://receiver/#a\"",
        "8: queue[0].url: take the `#` and what follows out of the address",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://receiver/\"\ntimeout = \"2m\"",
        r#"9: queue[0].timeout = "2m": must be 1s to 1m"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"nats\"\nurl = \"nats://receiver\"\nsubject = \"ring.*.{user}\"",
        r#"9: queue[0].subject = "ring.*.{user}": may have no space, no * and no > in it"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"nats\"\nurl = \"nats://receiver\"\nsubject = \"{user}.{type}\"",
        r#"9: queue[0].subject = "{user}.{type}": must begin with a letter or a digit, such as ringhookd.{user}"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"nats\"\nurl = \"nats://receiver\"\nsubject = \"ring..{user}\"",
        r#"9: queue[0].subject = "ring..{user}": has an empty part between its dots"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"nats\"\nurl = \"nats://receiver\"\nusername = \"ann\"",
        "9: queue[0].username: goes with password_file, which is missing",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"nats\"\nurl = \"nats://receiver\"\nusername = \"ann\"\npassword_file = \"./p\"\nbearer_file = \"./t\"",
        "11: queue[0].bearer_file: is instead of username and password_file, not beside them",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://receiver/\"\nparallel = 0",
        "9: queue[0].parallel = 0: must be 1 to 256",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://receiver/\"\nsecret_files = [\"whsec_hush\"]",
        "9: queue[0].secret_files[0]: must be a path that starts with / or ./, or credential:NAME; the secret itself belongs into that file",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\n[[queue.body]]\npointer = \"data\"\none_of = [\"x\"]",
        r#"9: queue[0].body[0].pointer = "data": begins with no /; write one such as /data/attributes/source_type"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\n[[queue.body]]\npointer = \"/data\"",
        r#"8: queue[0].body[0].one_of: is missing; write the values that are wanted, such as one_of = ["doorbell"]"#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nurl = \"http://receiver/\"",
        "8: queue[0].url: only for a kind with a receiver",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nmax_age = \"7 dayz\"",
        r#"8: queue[0].max_age = "7 dayz": not a duration; write one such as "7d""#,
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nmax_bytes = \"7 GiB\"",
        "3: store.max_bytes: must be at least 8512 MiB (it is 8 GiB), the sum of held.total_bytes 512 MiB, dead_letters.max_bytes 512 MiB, quarantine.max_bytes 64 MiB, unrouted.max_bytes 256 MiB, queue[0].max_bytes 7 GiB; raise it or lower those",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nmax_attempts = 0",
        "8: queue[0].max_attempts = 0: must be 1 to 10000",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nevents_per_second = 3",
        "8: queue[0].events_per_second = 3: only for kinds other than embedded",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"spool\"\nfolder = \"f\"\nevents_per_second = 0",
        "9: queue[0].events_per_second = 0: must be 1 to 100000",
    ),
    (
        "[[queue]]\nname = \"a\"\nkind = \"embedded\"\nmax_attemps = 3",
        "8: queue[0].max_attemps: unknown key; did you mean max_attempts?",
    ),
    (
        "[metrics]\nlisten = \"9464\"",
        r#"6: metrics.listen = "9464": not an IP address with a port; write one such as "127.0.0.1:9464""#,
    ),
    (
        "[metrics]\nlisten = \"127.0.0.1:1\"\n[[socket]]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/t\"",
        r#"6: metrics.listen = "127.0.0.1:1": is the address of another listener already"#,
    ),
    (
        "[[socket]]\nlisten = \"0.0.0.0:1\"\ntoken_file = \"/t\"",
        r#"6: socket[0].listen = "0.0.0.0:1": is no loopback address: what is sent there is not encrypted, so it must not leave this machine"#,
    ),
    (
        "[[socket]]\nlisten = \"localhost:1\"\ntoken_file = \"/t\"",
        r#"6: socket[0].listen = "localhost:1": not a loopback address with a port; write one such as "127.0.0.1:8481""#,
    ),
    (
        "[[socket]]\nlisten = \"127.0.0.1:1\"",
        r#"5: socket[0].token_file: is missing; write one such as token_file = "/etc/ringhookd/api.token""#,
    ),
    (
        "[[socket]]\nlisten = \"[::1]:1\"\ntoken_file = \"/t\"\npath = \"s\"",
        r#"8: socket[0].path = "s": only for a socket without listen"#,
    ),
    (
        "[[socket]]\npath = \"s\"\ntoken_file = \"/t\"",
        r#"7: socket[0].token_file = "/t": only for a socket with listen"#,
    ),
    (
        "[[socket]]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/t\"\n[[socket]]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/t\"",
        r#"9: socket[1].listen = "127.0.0.1:1": is the address of another socket already"#,
    ),
    (
        "[[socket]]\nmode = \"0600\"",
        r#"5: socket[0].path: is missing; write one such as path = "/run/ringhookd/admin.sock""#,
    ),
    (
        "[[socket]]\npath = \"s\"\nmode = \"1600\"",
        r#"7: socket[0].mode = "1600": not a file mode up to 0777 in octal; write one such as "0600""#,
    ),
    (
        "[[socket]]\npath = \"s\"\nmode = 384",
        r#"7: socket[0].mode = 384: not a text; write one such as "0600""#,
    ),
    (
        "[[socket]]\npath = \"s\"\nmode = \"0689\"",
        r#"7: socket[0].mode = "0689": not a file mode up to 0777 in octal; write one such as "0600""#,
    ),
    (
        "[[socket]]\npath = \"s\"\ngroup = \"a group\"",
        r#"7: socket[0].group = "a group": not the name of a group; write one such as "ring-readers""#,
    ),
    (
        "[[socket]]\npath = \"s\"\n[[socket]]\npath = \"s\"",
        r#"8: socket[1].path = "s": is the path of another socket already"#,
    ),
    (
        "[[socket]]\npath = \"d/s\"\ngroup = \"readers\"",
        r#"6: socket[0].path = "d/s": lies in store.folder, which only the daemon's own user can enter; put a socket for others into a folder that they can enter"#,
    ),
    (
        "[[socket]]\npath = \"d/own\"\n[[socket]]\npath = \"d/s\"\nmode = \"0660\"",
        r#"8: socket[1].path = "d/s": lies in store.folder, which only the daemon's own user can enter; put a socket for others into a folder that they can enter"#,
    ),
    (
        "[[socket]]\npath = \"s\"\ncalls = []",
        r#"7: socket[0].calls = []: lists nothing; write ["*"] for all"#,
    ),
    (
        "[[socket]]\npath = \"s\"\ncalls = [\"queue.*\", \"queue.eat\"]",
        r#"7: socket[0].calls[1] = "queue.eat": is not a call or a group of calls"#,
    ),
    (
        "[[socket]]\npath = \"s\"\ncalls = [\"status:q\"]",
        r#"7: socket[0].calls[0] = "status:q": can't be narrowed: only queue.read, queue.tail, queue.manage and queue.* can"#,
    ),
    (
        "[[socket]]\npath = \"s\"\nusers = []",
        r#"7: socket[0].users = []: lists nothing; write ["*"] for all"#,
    ),
    (
        "[[socket]]\npath = \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x\"",
        r#"6: socket[0].path = "01234567890123456789012345678901234567890123456789012345678…: is 111 bytes long from the root on; a socket's path has 100 at most"#,
    ),
    ("[log]\nformat = \"xml\"", r#"6: log.format = "xml": must be one of "auto", "human", "json""#),
    (
        "[log]\nlevel = \"INFO\"",
        r#"6: log.level = "INFO": must be one of "error", "warn", "info", "debug", "trace""#,
    ),
    (
        "[log]\nlevel = \"a\\nb\"",
        r#"6: log.level = "a\nb": must be one of "error", "warn", "info", "debug", "trace""#,
    ),
];
