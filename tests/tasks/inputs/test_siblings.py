"""Smaller models of a family, asked of a Hub that runs in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import huggingface_hub.constants
import pytest

from tasks.inputs import siblings
from tasks.inputs.proxies import resolve_proxies
from tasks.inputs.siblings import smaller_siblings
from trials.io.errors import SettingsError

QWEN = ["0.6B", "1.7B", "4B", "8B", "14B", "32B"]
MODELS = [
    *(f"Qwen/Qwen3-{size}" for size in QWEN),
    *(f"Qwen/Qwen3-{size}-Base" for size in QWEN),
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-0.6B-GGUF",
    "Qwen/Qwen2.5-0.5B",
    "other/Qwen3-0.6B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B",
]


class Hub(BaseHTTPRequestHandler):
    """Lists the models of an author whose name has the words that are searched."""

    def do_GET(self) -> None:
        asked = parse_qs(urlparse(self.path).query)
        author, words = asked["author"][0], asked["search"][0].lower()
        # As on the Hub, the author's name is matched loosely.
        found = [{"id": each} for each in MODELS if author in each or "other" in each]
        body = json.dumps([each for each in found if words in each["id"].lower()]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(siblings, "HfApi", lambda: huggingface_hub.HfApi(endpoint=url))
    smaller_siblings.cache_clear()
    yield
    server.shutdown()
    server.server_close()
    smaller_siblings.cache_clear()


@pytest.mark.parametrize(
    ("model", "smaller"),
    [
        ("Qwen/Qwen3-32B", ["Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B"]),
        ("Qwen/Qwen3-8B-Base", ["Qwen/Qwen3-1.7B-Base", "Qwen/Qwen3-0.6B-Base"]),
        ("Qwen/Qwen3-1.7B", ["Qwen/Qwen3-0.6B"]),
        ("Qwen/Qwen3-0.6B", []),
        ("meta-llama/Llama-3.2-3B-Instruct", ["meta-llama/Llama-3.2-1B-Instruct"]),
        ("meta-llama/Llama-3.1-8B-Instruct", []),
        (
            "HuggingFaceTB/SmolLM2-1.7B-Instruct",
            ["HuggingFaceTB/SmolLM2-360M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"],
        ),
        ("openai-community/gpt2", []),
        ("gpt2-124M", []),
        ("../Qwen3-8B", []),
    ],
)
def test_those_that_differ_by_their_size_alone(hub: None, model: str, smaller: list[str]) -> None:
    assert list(smaller_siblings(model)) == smaller


def test_auto_asks_the_hub_for_a_model_of_the_hub(hub: None) -> None:
    assert resolve_proxies(["auto"], "Qwen/Qwen3-1.7B") == ["Qwen/Qwen3-0.6B"]
    with pytest.raises(SettingsError, match="nor by its name on the Hub"):
        resolve_proxies(["auto"], "Qwen/Qwen3-0.6B")


def test_a_hub_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        siblings, "HfApi", lambda: huggingface_hub.HfApi(endpoint="http://127.0.0.1:9")
    )
    smaller_siblings.cache_clear()
    with pytest.raises(SettingsError, match=r"cannot be asked(.|\n)*--proxy OWNER/MODEL"):
        smaller_siblings("Qwen/Qwen3-8B")


def test_a_hub_out_of_reach_is_said() -> None:
    smaller_siblings.cache_clear()
    with pytest.raises(SettingsError, match=r"cannot be asked(.|\n)*--proxy OWNER/MODEL"):
        smaller_siblings("Qwen/Qwen3-8B")
