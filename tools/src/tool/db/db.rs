//! What the database tools share: the way to the server of the extension `postgresql`.
//!
//! A call speaks the server's own protocol at its Unix socket. The server knows the call's process by its user
//! (`peer`, which the extension sets up) and takes it for the role `aios`, which may see all that is about the
//! server, cancel and end, and can read no table.

use crate::ctx::Ctx;
use crate::reach::Needs;
use aios_abi::{CallError, ErrorCode};
use aios_unit::Family;
use rustix::thread::CapabilitySet;
use std::future::Future;
use std::path::Path;
use tokio::net::UnixStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls};

/// Where the server of the extension listens.
pub(crate) const SOCKET: &str = "/run/postgresql/.s.PGSQL.5432";
/// What asking it takes: the socket is everybody's, its directory the service's alone.
pub(crate) const NEEDS: Needs =
    Needs::NOTHING.families(&[Family::Unix]).capabilities(CapabilitySet::DAC_READ_SEARCH);
/// The role of the tools.
const ROLE: &str = "aios";
/// A database that every cluster has.
const DATABASE: &str = "postgres";
/// Statements that take longer are given up by the server itself.
const OPTIONS: &str = "-c statement_timeout=10s -c lock_timeout=2s";

/// Ask the server at this socket.
pub(crate) fn ask<T, F>(ctx: &Ctx, socket: &Path, work: impl FnOnce(Client) -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, Error>>,
{
    ctx.wait(async {
        let stream = UnixStream::connect(socket).await.map_err(|e| {
            CallError::unavailable(format!(
                "no database answers at {} ({e}); install the extension postgresql and start its service",
                socket.display()
            ))
        })?;
        let mut config = Config::new();
        config.user(ROLE).dbname(DATABASE).application_name("aiOS").options(OPTIONS);
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|e| refused(&e))?;
        // The connection is what carries the questions: both go on together.
        let work = work(client);
        tokio::pin!(work, connection);
        tokio::select! {
            biased;
            done = &mut work => done.map_err(|e| refused(&e)),
            Err(gone) = &mut connection => Err(refused(&gone)),
        }
    })?
}

/// What the server says, as a sentence.
fn refused(error: &Error) -> CallError {
    let Some(said) = error.as_db_error() else {
        return CallError::failed(format!("the database does not answer as it should: {error}"));
    };
    let code = match *said.code() {
        SqlState::INSUFFICIENT_PRIVILEGE
        | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        | SqlState::INVALID_PASSWORD => ErrorCode::Denied,
        SqlState::CANNOT_CONNECT_NOW | SqlState::TOO_MANY_CONNECTIONS | SqlState::ADMIN_SHUTDOWN => {
            ErrorCode::Unavailable
        }
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => ErrorCode::Timeout,
        _ => ErrorCode::Failed,
    };
    CallError::new(code, format!("the database says: {}", said.message()))
}

#[cfg(test)]
mod tests {
    use crate::ctx::{Ctx, alone, within};
    use crate::declaration::Change;
    use crate::dump::Server;
    use crate::recipe::Recipe;
    use crate::tool::db::{backup, connections, kill_query, migrate, restore, slow_queries, status};
    use aios_abi::{CallError, ErrorCode};
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use rustix::process::{Signal, getuid, kill_process};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

    /// The server of Debian's package, set up by the recipe's own program and started as its service file says.
    struct Cluster {
        folder: tempfile::TempDir,
        server: Child,
        user: (u32, String),
        recipe: Recipe,
    }

    /// The server refuses to run as root.
    fn user() -> (u32, String) {
        let own = getuid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd").expect("reads");
        let wanted = |fields: &[&str]| match own {
            0 => fields[0] == "postgres",
            own => fields[2] == own.to_string(),
        };
        let lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = lines.into_iter().find(|fields| wanted(fields)).expect("a user for the server");
        (found[2].parse().expect("a number"), found[0].into())
    }

    fn recipe(folder: &Path, uid: u32) -> Recipe {
        Recipe::new("postgresql", &[("/data/postgresql", folder), ("/run/postgresql", folder)], Some(uid))
    }

    impl Cluster {
        fn start() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let user = user();
            let data = folder.path().join("main");
            if getuid().is_root() {
                std::os::unix::fs::chown(folder.path(), Some(user.0), Some(user.0)).expect("given");
            }
            let recipe = recipe(folder.path(), user.0);
            let made = recipe
                .program("/usr/lib/postgresql/setup")
                .env("PGDATA", &data)
                .env("BACKUPS", folder.path().join("backup"))
                .env("MIGRATIONS", folder.path().join("migrations"))
                .output()
                .expect("scripts/deps.sh test");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            // Here nobody is aios-worker, so others stand for it.
            let ident = data.join("pg_ident.conf");
            let text = std::fs::read_to_string(&ident).expect("reads");
            assert!(text.ends_with("aios aios-worker aios\n"));
            std::fs::write(&ident, format!("{text}aios root aios\naios {} aios\n", user.1)).expect("written");
            // And an application has a role of its own.
            let rules = data.join("pg_hba.conf");
            let text = std::fs::read_to_string(&rules).expect("reads");
            assert!(text.starts_with("local postgres aios peer map=aios\n"));
            std::fs::write(&rules, format!("local postgres app trust\n{text}")).expect("written");
            let unit = recipe.unit("postgresql");
            let mut words = unit.exec.iter().map(|word| recipe.here(word));
            let mut command = recipe.as_user(words.next().expect("a program"));
            let server = command.args(words).stderr(Stdio::null()).spawn().expect("starts");
            let cluster = Self { folder, server, user, recipe };
            let ready = || cluster.tool("pg_isready", &[]).status.success();
            let until = Instant::now() + Duration::from_secs(30);
            while !ready() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(ready(), "the server does not come up");
            cluster
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join(".s.PGSQL.5432")
        }

        fn command(&self, program: &str) -> Command {
            let mut command = self.recipe.as_user(Path::new(PROGRAMS).join(program));
            command.arg("-h").arg(self.folder.path()).args(["-U", "postgres"]);
            command
        }

        fn tool(&self, program: &str, arguments: &[&str]) -> std::process::Output {
            // Whoever runs the server is its superuser.
            let mut command = self.command(program);
            command.args(arguments).output().expect("starts")
        }

        fn server(&self) -> Server {
            let folder = self.folder.path();
            Server {
                socket: self.socket(),
                backups: folder.join("backup"),
                migrations: folder.join("migrations"),
            }
        }

        /// The names of the files in the directory of backups.
        fn backups(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.folder.path().join("backup")).expect("reads").flatten();
            let mut names: Vec<_> =
                entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
            names.sort();
            names
        }

        /// All that can be seen of a database; a mark of this one dump is left out.
        fn content(&self, database: &str) -> Vec<String> {
            let output = self.tool("pg_dump", &["--dbname", database]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).expect("text");
            let lines = text.lines().filter(|line| !line.starts_with('\\'));
            lines.map(str::to_owned).collect()
        }

        fn sql(&self, database: &str, text: &str) {
            let output = self.tool("psql", &["-d", database, "-v", "ON_ERROR_STOP=1", "-qc", text]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    impl Drop for Cluster {
        fn drop(&mut self) {
            let pid = rustix::process::Pid::from_child(&self.server);
            let _ = kill_process(pid, Signal::INT);
            let _ = self.server.wait();
        }
    }

    /// What `look` sees as soon as it is what is waited for.
    fn until<T>(look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match look() {
                Some(seen) => return seen,
                None if Instant::now() > end => panic!("it does not come"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    #[test]
    fn a_real_server_is_looked_at_and_a_statement_of_it_ended() {
        let cluster = Cluster::start();
        let (ctx, socket) = (alone(), cluster.socket());

        let now = status::look(&ctx, &socket).expect("a status");
        assert!(now.version.starts_with("15."), "{now:?}");
        assert!(now.databases.iter().any(|one| one.name == "postgres" && one.bytes > 1 << 20), "{now:?}");
        assert!(now.max_connections >= 20 && !now.read_only, "{now:?}");

        let rows = "SELECT count(*) FROM generate_series(1, 4242) WHERE 'S3CRET' <> ''";
        for _ in 0..3 {
            assert!(cluster.tool("psql", &["-c", rows]).status.success());
        }
        let mut sleeper =
            cluster.command("psql").args(["-c", "SELECT pg_sleep(600), 'S3CRET'"]).spawn().expect("starts");
        let running = until(|| {
            let seen = slow_queries::look(&ctx, &socket, &slow_queries::Args::of(0)).expect("looks");
            assert!(
                seen.costly.iter().any(|one| one.calls == 3 && one.statement.contains("generate_series"))
            );
            assert!(!format!("{seen:?}").contains("S3CRET"), "{seen:?}");
            seen.running.into_iter().find(|one| one.statement == "SELECT pg_sleep(?), ?")
        });
        let seen = connections::look(&ctx, &socket).expect("looks");
        let found = seen.connections.iter().find(|one| one.pid == running.pid).expect("is connected");
        assert_eq!((found.state.as_str(), found.user.as_deref()), ("active", Some("postgres")));
        assert!(!format!("{seen:?}").contains("S3CRET"), "{seen:?}");

        // Another statement than was meant is left alone.
        let other = kill_query::find(&ctx, &socket, running.pid, "2001-01-01T00:00:00.000000Z");
        assert_eq!(other.map(drop).expect_err("is another one").code, ErrorCode::Conflict);
        let none = kill_query::find(&ctx, &socket, 1, &running.started);
        assert_eq!(none.map(drop).expect_err("is none of it").code, ErrorCode::NotFound);
        // A superuser's is not the tools' to end, and that is said.
        let meant = kill_query::find(&ctx, &socket, running.pid, &running.started).expect("is there");
        let error = kill_query::end(&ctx, &socket, &meant, true).expect_err("a superuser's");
        assert_eq!(error.code, ErrorCode::Denied, "{error}");
        assert!(cluster.tool("psql", &["-c", "CREATE ROLE app LOGIN"]).status.success());
        sleeper.kill().expect("ends");
        sleeper.wait().expect("ends");
        end_a_statement(&ctx, &cluster, false);
        end_a_statement(&ctx, &cluster, true);

        // The role sees what the server does and no table.
        let secret = ["-c", "CREATE TABLE secret (x int)"];
        assert!(cluster.tool("psql", &secret).status.success());
        let read =
            super::ask(
                &ctx,
                &socket,
                |client| async move { client.query("SELECT x FROM secret", &[]).await },
            );
        assert_eq!(read.expect_err("no right").code, ErrorCode::Denied);
        saved_and_restored(&cluster);
        changed_at_random(&cluster);
        let gone = status::look(&ctx, &cluster.folder.path().join("nothing")).expect_err("nobody is there");
        assert_eq!(gone.code, ErrorCode::Unavailable);
    }

    fn end_a_statement(ctx: &Ctx, cluster: &Cluster, connection: bool) {
        let mut app = cluster.recipe.as_user(Path::new(PROGRAMS).join("psql"));
        app.arg("-h").arg(cluster.folder.path()).args(["-U", "app", "-d", "postgres"]);
        let mut app = app.args(["-c", "SELECT pg_sleep(601)"]).spawn().expect("starts");
        let socket = cluster.socket();
        let running = until(|| {
            let seen = slow_queries::look(ctx, &socket, &slow_queries::Args::of(0)).expect("looks");
            seen.running.into_iter().find(|one| one.user.as_deref() == Some("app"))
        });
        let meant = kill_query::find(ctx, &socket, running.pid, &running.started).expect("is there");
        let done = kill_query::end(ctx, &socket, &meant, connection).expect("is ended");
        assert!(done.ended && done.connection_ended == connection, "{done:?}");
        assert!(!app.wait().expect("ends").success());
        let again = kill_query::find(ctx, &socket, running.pid, &running.started);
        assert!(again.is_err(), "it has ended");
    }

    fn saved_and_restored(cluster: &Cluster) {
        let ctx = within(recipe(cluster.folder.path(), cluster.user.0));
        let folder = cluster.folder.path();
        let server = || cluster.server();
        let names = || cluster.backups();
        let content = || cluster.content("shop");
        let sql = |text: &str| cluster.sql("shop", text);
        assert!(cluster.tool("createdb", &["shop"]).status.success());
        sql("CREATE TABLE item (id serial PRIMARY KEY, name text NOT NULL);
             INSERT INTO item (name) SELECT 'item ' || n FROM generate_series(1, 500) n;
             CREATE SCHEMA more; CREATE VIEW more.names AS SELECT name FROM item; GRANT SELECT ON item TO app;
             CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2'; SELECT lo_from_bytea(0, 'large')");
        let first = content();

        // Saved, and the backup taken back.
        let save = |name| backup::prepare(&ctx, server(), backup::Args::of("shop", name));
        let mut change = save(None).expect("is prepared");
        let (kept, done) = (change.save().expect("is kept"), change.apply(&ctx).expect("is saved"));
        assert_eq!(names(), [done.name.clone(), format!("{}.blake3", done.name)]);
        backup::undo(&ctx, &server(), &kept).expect("is taken back");
        assert_eq!(names(), Vec::<String>::new());
        let error = backup::undo(&ctx, &server(), &kept).expect_err("is gone");
        assert_eq!(error.code, ErrorCode::Conflict);
        let mut change = save(Some("good.dump")).expect("is prepared");
        let kept = change.save().expect("is kept");
        change.apply(&ctx).expect("is saved");
        let again = save(Some("good.dump")).err().expect("is there already");
        assert_eq!(again.code, ErrorCode::Conflict);
        for (database, code) in [("shopp", ErrorCode::NotFound), ("dbname=shop", ErrorCode::Invalid)] {
            let error = backup::prepare(&ctx, server(), backup::Args::of(database, None)).err();
            assert_eq!(error.expect(database).code, code);
        }

        // Changed, restored, and the restoring taken back, with all that is seen of it.
        sql("DELETE FROM item WHERE id > 10; DROP SCHEMA more CASCADE; CREATE TABLE other (x int);
             CREATE SCHEMA third; CREATE TABLE third.t (y text); SELECT lo_from_bytea(0, 'another')");
        let second = content();
        assert_ne!(first, second);
        let prepare = |name| restore::prepare(&ctx, server(), restore::Args::of("shop", name));
        let mut change = prepare("good.dump").expect("is prepared");
        let kept_before = change.save().expect("is kept");
        let done = change.apply(&ctx).expect("is restored");
        assert_eq!(content(), first);
        assert!(names().contains(&done.before));
        sql("CREATE TABLE since (x int)");
        let said = restore::undo(&ctx, &server(), &kept_before).expect("is taken back");
        assert_eq!(content(), second);
        let since = names().into_iter().find(|name| name.starts_with("before-undo-")).expect("is saved");
        assert!(said.contains(&since) && !names().contains(&done.before), "{said}");

        // A backup that was altered, and one that is none, change nothing.
        let path = folder.join("backup/good.dump");
        let mut bytes = std::fs::read(&path).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(prepare("good.dump").err().expect("was altered").code, ErrorCode::Conflict);
        assert_eq!(backup::undo(&ctx, &server(), &kept).expect_err("was altered").code, ErrorCode::Conflict);
        std::fs::write(folder.join("backup/strange"), b"no backup").expect("written");
        let before = names();
        let mut change = prepare("strange").expect("is prepared");
        let error = change.apply(&ctx).expect_err("cannot be read");
        assert!(error.message.contains("shop is as it was before"), "{error}");
        assert_eq!((content(), names()), (second, before));

        // Files are applied in their order, each once, and taken back together.
        let own = folder.join("migrations/shop");
        let write = |name: &str, text: &str| std::fs::write(own.join(name), text).expect("written");
        std::fs::create_dir(&own).expect("made");
        write("001-a.sql", "CREATE TABLE a (x int);\n");
        write("002-b.sql", "INSERT INTO a VALUES (1), (2);");
        write("notes.txt", "no file of SQL");
        let second = content();
        let migrate = || migrate::prepare(&ctx, server(), migrate::Args::of("shop"));
        let mut change = migrate().expect("is prepared");
        let kept = change.save().expect("is kept");
        assert_eq!(change.apply(&ctx).expect("is applied").applied, ["001-a.sql", "002-b.sql"]);
        let third = content();
        let mut nothing = migrate().expect("is prepared");
        let kept_nothing = nothing.save().expect("is kept");
        let done = nothing.apply(&ctx).expect("nothing is to be done");
        assert!(done.applied.is_empty() && done.before.is_none() && content() == third);
        migrate::undo(&ctx, &server(), &kept_nothing).expect("nothing is taken back");
        // One that fails, or ends the transaction itself, leaves nothing.
        for wrong in [
            "INSERT INTO a VALUES (3); INSERT INTO missing VALUES (1);",
            "INSERT INTO a VALUES (3); COMMIT; CREATE TABLE c (x int);",
        ] {
            write("003-c.sql", wrong);
            let error = migrate().expect("is prepared").apply(&ctx).expect_err("is wrong");
            assert!(error.message.contains("nothing was changed"), "{error}");
            assert_eq!(content(), third);
        }
        std::fs::remove_file(own.join("003-c.sql")).expect("removed");
        write("0-early.sql", "SELECT 1;");
        assert_eq!(migrate().err().expect("is too late").code, ErrorCode::Conflict);
        std::fs::remove_file(own.join("0-early.sql")).expect("removed");
        write("001-a.sql", "CREATE TABLE a (x text);\n");
        assert_eq!(migrate().err().expect("was changed").code, ErrorCode::Conflict);
        migrate::undo(&ctx, &server(), &kept).expect("is taken back");
        assert_eq!(content(), second);
    }

    /// A change by a tool; a restore is of one of the backups that are there.
    #[derive(Debug, Clone)]
    enum Step {
        Backup,
        Restore(prop::sample::Index),
        Migrate(usize),
    }

    type TakeBack<'a> = Box<dyn Fn() -> Result<String, CallError> + 'a>;

    /// Whatever is in the database, and whatever the tools did to it: taken back in turn, it is as it was.
    fn changed_at_random(cluster: &Cluster) {
        const SQL: [&str; 6] = [
            "CREATE TABLE IF NOT EXISTS t (id serial, name text); INSERT INTO t (name) VALUES ('x'), (NULL)",
            "CREATE TABLE IF NOT EXISTS t (id serial, name text); DELETE FROM t",
            "CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other.t (x int CHECK (x > 0))",
            "DROP SCHEMA IF EXISTS other CASCADE",
            "CREATE OR REPLACE VIEW v AS SELECT 1 AS one; GRANT SELECT ON v TO app",
            "SELECT lo_from_bytea(0, 'large'); CREATE SEQUENCE IF NOT EXISTS s START 7",
        ];
        let ctx = &within(recipe(cluster.folder.path(), cluster.user.0));
        let server = || cluster.server();
        // What was there when something was taken back is kept, too: nobody loses it.
        let backups = || -> Vec<_> {
            cluster.backups().into_iter().filter(|name| !name.starts_with("before-undo-")).collect()
        };
        let files = cluster.folder.path().join("migrations/play");
        std::fs::create_dir(&files).expect("made");
        assert!(cluster.tool("createdb", &["play"]).status.success());
        let file = std::cell::Cell::new(0);
        let step = prop_oneof![
            Just(Step::Backup),
            any::<prop::sample::Index>().prop_map(Step::Restore),
            (0..SQL.len()).prop_map(Step::Migrate),
        ];
        let case = (prop::collection::vec(0..SQL.len(), 0..3), prop::collection::vec(step, 1..5));
        let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
        let result = runner.run(&case, |(before, steps)| {
            before.into_iter().for_each(|text| cluster.sql("play", SQL[text]));
            let mut done: Vec<(_, TakeBack<'_>)> = Vec::new();
            for step in steps {
                let seen = (cluster.content("play"), backups());
                let own = |name: &&String| name.contains("play") && name.ends_with(".dump");
                let of_play: Vec<String> = seen.1.iter().filter(own).cloned().collect();
                match step {
                    Step::Backup => {
                        let args = backup::Args::of("play", None);
                        let mut change = backup::prepare(ctx, server(), args).expect("is prepared");
                        let kept = change.save().expect("is kept");
                        change.apply(ctx).expect("is saved");
                        done.push((seen, Box::new(move || backup::undo(ctx, &cluster.server(), &kept))));
                    }
                    Step::Restore(_) if of_play.is_empty() => {}
                    Step::Restore(which) => {
                        let args = restore::Args::of("play", which.get(&of_play).as_str());
                        let mut change = restore::prepare(ctx, server(), args).expect("is prepared");
                        let kept = change.save().expect("is kept");
                        change.apply(ctx).expect("is restored");
                        done.push((seen, Box::new(move || restore::undo(ctx, &cluster.server(), &kept))));
                    }
                    Step::Migrate(text) => {
                        file.set(file.get() + 1);
                        std::fs::write(files.join(format!("{:04}.sql", file.get())), SQL[text])
                            .expect("written");
                        let args = migrate::Args::of("play");
                        let mut change = migrate::prepare(ctx, server(), args).expect("is prepared");
                        let kept = change.save().expect("is kept");
                        let applied = change.apply(ctx).expect("is applied");
                        prop_assert!(applied.failed.is_none() && !applied.applied.is_empty());
                        done.push((seen, Box::new(move || migrate::undo(ctx, &cluster.server(), &kept))));
                    }
                }
            }
            for (seen, undo) in done.into_iter().rev() {
                undo().expect("is taken back");
                prop_assert_eq!((cluster.content("play"), backups()), seen);
            }
            Ok(())
        });
        result.expect("leaves no trace");
    }
}
