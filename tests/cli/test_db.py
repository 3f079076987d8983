"""`outlast db`: a new database becomes usable, and says so."""

import psycopg
from outlast_command import make_project, outlast

from outlast.storage.postgres.migrate import migrations


def test_an_empty_database_is_brought_up_to_date_once(tmp_path, empty_database_url):
    def db(command):
        return outlast("db", command, cwd=tmp_path, DATABASE_URL=empty_database_url)

    before = db("status")
    assert before.returncode == 1
    assert before.stdout.count("missing") == len(migrations())
    assert "outlast db migrate" in before.stderr

    assert db("migrate").stdout.count("applied") == len(migrations())
    assert "nothing to do" in db("migrate").stdout
    after = db("status")
    assert after.returncode == 0
    assert after.stdout.count("applied") == len(migrations())
    assert db("url").stdout.strip() == empty_database_url


def test_without_a_url_the_private_server_of_the_project_is_joined(tmp_path):
    folder = make_project(tmp_path) / "below"
    folder.mkdir()
    assert outlast("db", "status", cwd=folder).returncode == 0
    assert (tmp_path / ".outlast" / "postgres").is_dir()
    assert not (folder / ".outlast").exists()


def test_outside_of_a_project_a_url_is_needed(tmp_path):
    done = outlast("db", "status", cwd=tmp_path)
    assert done.returncode == 2
    assert "outlast.toml" in done.stderr


def test_the_url_works(tmp_path, database_url):
    url = outlast("db", "url", cwd=tmp_path, DATABASE_URL=database_url).stdout.strip()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
