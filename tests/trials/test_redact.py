from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trials.helpers import DirectLauncher
from trials.errors import AutoPipeError, DatasetError
from trials.redact import MASK, SECRET_NAMES, redact_file, redacted

SECRETS = (
    "HF_TOKEN AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID DB_PASSWORD PGPASSWORD SMTP_PASS PASSPHRASE "
    "SSH_PASSPHRASE GH_PAT AZURE_STORAGE_KEY PRIVATE_KEY AZURE_STORAGE_CONNECTION_STRING "
    "CONNECTION_URL SLACK_WEBHOOK_URL OAUTH_CLIENT AUTHORIZATION WANDB_API_KEY OPENAI_KEY MYSQL_PWD"
)
NONE = (
    "GIT_AUTHOR_NAME MAX_TOKENS TOKENIZERS_PARALLELISM PATH PWD OLDPWD COMPASS PATTERN KEYBOARD "
    "XAUTHORITY"
)


@pytest.mark.parametrize("name", SECRETS.split())
def test_names_that_say_secret(name: str) -> None:
    assert SECRET_NAMES.search(name)
    assert SECRET_NAMES.search(name.lower())


@pytest.mark.parametrize("name", NONE.split())
def test_names_that_only_look_like_it(name: str) -> None:
    assert not SECRET_NAMES.search(name)


def test_values_of_secret_variables_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef123456")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("DB_PASSWORD", "correct horse")
    text = redacted("loading with hf_abcdef123456 and wJalrXUtnFEMI, correct horse")
    assert text == f"loading with {MASK} and {MASK}, {MASK}"


def test_a_secret_within_another_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret1")
    monkeypatch.setenv("B_TOKEN", "secret1-and-more")
    assert redacted("secret1-and-more") == MASK


def test_short_and_ordinary_values_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_AUTH", "true")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("SOME_PATH", "/a/long/ordinary/path")
    assert redacted("true false /a/long/ordinary/path") == "true false /a/long/ordinary/path"


def test_however_a_program_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    key = '-----BEGIN KEY-----\nabc"def\\ghi/jkl\n-----END KEY-----'
    monkeypatch.setenv("SIGNING_KEY", key)
    monkeypatch.setenv("TEAM_WEBHOOK", "https://hooks.example.org/services/T01/secretpart")
    for text in (key, repr(key), json.dumps(key), 'line abc"def\\ghi/jkl', "abc%22def%5Cghi%2Fjkl"):
        assert "def" not in redacted(text), text
    assert "secretpart" not in redacted("refused with url: /services/T01/secretpart (gone)")


def test_passwords_in_urls_are_taken_out_wherever_they_come_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert redacted("sftp://me:pw@host/runs") == f"sftp://me:{MASK}@host/runs"
    assert redacted("http://host:80/a, mail to me@host") == "http://host:80/a, mail to me@host"
    assert redacted("s3://bucket/a@b") == "s3://bucket/a@b"
    monkeypatch.setenv("AUTOPIPE_DVC_REMOTE", "ssh://me:hunter22@host/versions")
    assert redacted("password hunter22 of me@host") == f"password {MASK} of me@host"


def test_errors_for_people_do_not_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef123456")
    assert str(AutoPipeError("no access with hf_abcdef123456")) == f"no access with {MASK}"
    assert MASK in str(DatasetError("odd row", path="/data/hf_abcdef123456"))


def test_a_log_keeps_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ábcdef123456")
    file = tmp_path / "log.txt"
    file.write_bytes("using hf_ábcdef123456 now \xe9 sftp://a:bc@d\n".encode() + b"\xff\n")
    before = file.stat().st_size
    redact_file(file)
    assert file.read_bytes() == b"using **************** now \xc3\xa9 sftp://a:**@d\n\xff\n"
    assert file.stat().st_size == before
    redact_file(tmp_path / "none")


def test_a_program_leaves_none_in_its_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef123456")
    program = """
import os, sys
from pathlib import Path
print("started with", os.environ["HF_TOKEN"], flush=True)
Path(sys.argv[1]).with_name("log.txt").write_text("of its own: " + os.environ["HF_TOKEN"])
os._exit(1)
"""
    (tmp_path / "inner").mkdir()
    files = [tmp_path / "inner" / "request.json"]
    assert DirectLauncher(program=program).run("", files, tmp_path / "log.txt") == 1
    assert (tmp_path / "log.txt").read_text() == f"started with {'*' * 15}\n"
    assert (tmp_path / "inner" / "log.txt").read_text() == f"of its own: {'*' * 15}"
