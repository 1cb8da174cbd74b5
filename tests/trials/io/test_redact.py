from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from trials.io.errors import AutoPipeError, DatasetError
from trials.io.redact import MASK, has_secret, redact_file, redacted

SECRETS = (
    "HF_TOKEN AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID DB_PASSWORD PGPASSWORD SMTP_PASS "
    "PASSPHRASE SSH_PASSPHRASE GH_PAT AZURE_STORAGE_KEY PRIVATE_KEY "
    "AZURE_STORAGE_CONNECTION_STRING CONNECTION_URL SLACK_WEBHOOK_URL OAUTH_CLIENT "
    "AUTHORIZATION WANDB_API_KEY OPENAI_KEY MYSQL_PWD API_TOKENS DB_PW PGPASS SAS BLOB_SAS "
    "SAS_URL SLACK_HOOK_URL SESSION_KEY SESSION_COOKIE COOKIES API_KEYS SECRETS CLIENT_SECRETS "
    "PASSWORDS DB_PASSWD ROOTPW AUTH_TOKENS GITHUB_AUTH CREDS AWS_CREDENTIALS SENTRY_DSN "
    "REQUEST_SIGNATURE URL_SIG apiToken dbPassword sessionKey JWT WIFI_PSK MYSQLPASS APIKEY "
    "TEAMS_WEBHOOK CONN_STR ACCOUNT_KEY X-Amz-Signature X-Amz-Security-Token X-Goog-Credential "
    "access_token sig ACCOUNTKEY STORAGEKEY accountKey MASTERKEY SSHKEY DEPLOYKEYS"
)
NONE = (
    "GIT_AUTHOR_NAME MAX_TOKENS TOKENIZERS_PARALLELISM PATH PWD OLDPWD COMPASS PATTERN KEYBOARD "
    "XAUTHORITY "
    "MONKEY TURKEY HOTKEYS COMPASS_URL BYPASS MAX_NEW_TOKENS VLLM_MAX_NUM_BATCHED_TOKENS TOKENIZER "
    "AUTHORS KEYNOTE SIGNAL SIGTERM DESIGN HOOKED PASSENGER SASSY PATH_INFO TOKEN_LENGTH AUTH_TYPE "
    "PASSWORD_LENGTH KEY_SIZE SESSIONIZE CONNECTION_TIMEOUT HOME USER LANG SHELL"
)


def hides(name: str, monkeypatch: pytest.MonkeyPatch, value: str = "kX9vPq2LmNz") -> bool:
    with monkeypatch.context() as patched:
        patched.setenv(name, value)
        return value not in redacted(f"with {value}")


@pytest.mark.parametrize("name", SECRETS.split())
def test_names_that_say_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hides(name, monkeypatch)
    assert hides(name.lower(), monkeypatch) or "_" not in name


@pytest.mark.parametrize("name", NONE.split())
def test_names_that_only_look_like_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hides(name, monkeypatch)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKENS", "first,second"),
        ("DB_PW", "letmein"),
        ("PGPASS", "hunter"),
        ("BLOB_SAS", "sv=2024-11-04&ss=b"),
        ("SLACK_HOOK_URL", "https://hooks.example.org/services/T0/B0/x"),
        ("SIGNING_KEY", "0f9a1c77be"),
        ("SESSION_COOKIE", "chocolate"),
        ("DATABASE", "postgresql://me:hunter@db/tune"),
        ("DOWNLOAD_FROM", "https://host/file?token=abcdefgh&part=1"),
        ("ACCOUNTKEY", "letmeinplease"),
        ("HMACKEY", "0f9a1c77be"),
        ("DATABASE_AT", "Server=db;Uid=me;Pwd=hunter2;"),
        ("FUNCTION_AT", "https://host/api?code=aB3dE6gH9&x=1"),
    ],
)
def test_their_values_are_taken_out(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    secret = {
        "DATABASE": "hunter",
        "DOWNLOAD_FROM": "abcdefgh",
        "DATABASE_AT": "hunter2",
        "FUNCTION_AT": "aB3dE6gH9",
    }.get(name, value)
    for text in (secret, f"refused ({secret}) for now", f"{{'{name}': {value!r}}}"):
        assert secret not in redacted(text), text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DESKTOP_SESSION", "ubuntu"),
        ("XDG_SESSION_TYPE", "wayland"),
        ("SORT_KEY", "accuracy"),
        ("GIT_HOOK", "pre"),
        ("USE_AUTH", "enabled"),
        ("SSH_AUTH_SOCK", "/"),
        ("MONKEY", "chimpanzee1"),
        ("COMPASS", "northwest42"),
        ("API_TOKEN", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ],
)
def test_ordinary_values_stay(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    text = f"the run on {value} has reached an accuracy of 0.71"
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://host/data?token=abc123 failed", "abc123"),
        ("https://host/a?x=1&sig=aB%2Fc9%3D&se=2027", "aB%2Fc9%3D"),
        ("https://s3.host/k?X-Amz-Signature=0f1e2d3c&X-Amz-Date=1", "0f1e2d3c"),
        ("https://host/v1?key=AbCd1234", "AbCd1234"),
        ("https://host/v1?api_key=xyz", "xyz"),
        ("https://host/v1?user=me&pwd=hunter22", "hunter22"),
        ("https://host/api/f?code=aB3dE6gH9_kL==", "aB3dE6gH9_kL=="),
        ("Server=db;Uid=me;Pwd=hunter22;Timeout=3", "hunter22"),
        ("https://host/#/?access_token=eyabc.def", "eyabc.def"),
        ("clone https://abcdef0123456789abcd@git.host/repo", "abcdef0123456789abcd"),
        ("sftp://me:p%40ss@host/x", "p%40ss"),
        ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
        ("{'authorization': 'Basic dXNlcjpwYXNz', 'a': 1}", "dXNlcjpwYXNz"),
        ("curl -H 'X-API-Key: 12345678'", "12345678"),
        ("Set-Cookie: id=a3fWa; Max-Age=259", "a3fWa"),
        ("sent bearer AbCdEfGh1234567 to it", "AbCdEfGh1234567"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAA\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEowIB", "MIIEowIB"),
        ("with ghp_abcdefghijklmnopqrstuvwxyz0123", "ghp_abcdefghijklmnopqrstuvwxyz0123"),
        ("with hf_AbCdEfGhIjKlMnOpQrStUvWxYz", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"),
        ("with AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_secrets_are_told_by_what_stands_around_them(text: str, secret: str) -> None:
    shown = redacted(text)
    assert secret not in shown
    assert MASK in shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://host/search?q=token&page=2",
        "https://host/errors?code=404&lang=en and https://host/?code=python",
        "env;PWD=/home/me;SHELL=/bin/sh",
        "is x?y=1:z the key=value of it",
        "https://user@host/repo and https://a-long-user-name@host/repo",
        "the basic characteristics of bearer tokens",
        "MAX_TOKENS=4096 key=accuracy",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "loss=0.25;lr=3e-05",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_url_with_a_secret_is_known() -> None:
    assert has_secret("s3://bucket/a?X-Amz-Signature=12345678")
    assert has_secret("ssh://me:pw@host/x")
    assert not has_secret("ssh://me@host/x?part=1")


def test_a_long_text_takes_no_time() -> None:
    text = "step 12 loss=0.25 https://host/a?b=c " * 30_000 + "://" * 20_000 + "?" * 50_000
    start = time.perf_counter()
    redacted(text)
    assert time.perf_counter() - start < 5.0


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T01ABC2/B03DEF4/kX9vPq2LmNz",
        "https://discord.com/api/webhooks/1029384756/aZ-9_xYq81LmN",
        "https://corp.webhook.office.com/webhookb2/11aa22bb-33cc@44dd/IncomingWebhook/55ee66ff",
        "https://host/callback#access_token=kX9vPq2LmNz",
    ],
)
def test_addresses_that_anybody_may_write_to_are_secrets_whatever_names_them(url: str) -> None:
    shown = redacted(f"cannot reach {url} now")
    assert shown.startswith("cannot reach https://")
    assert shown.endswith(f"{MASK} now")


def test_other_addresses_stay() -> None:
    for url in (
        "https://github.com/prefecthq/prefect/issues/12345678901234567890",
        "https://docs.host.com/services/how-to-write-webhooks-in-2024#setup=1",
    ):
        assert redacted(url) == url
    start = time.monotonic()
    redacted("https://h/" + "webhook/" * 20_000 + "a/" * 20_000)
    assert time.monotonic() - start < 2.0
