"""prefect.yaml and the templates of work pools, against the flows and against Prefect."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from docker.models.containers import _create_container_args
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import apply_values

from surrogates.space.options import STRATEGIES
from tasks.config.paths import HISTORY_VARIABLE, ROOT
from tasks.config.process import TELEMETRY_OFF
from tasks.operations.deploy import KINDS, LEAD, POOLS, TRAIN, deploy, make_pool, template
from trials.io.errors import SettingsError

FILE = ROOT / "deployments" / "prefect.yaml"
CONTENT: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
DEPLOYMENTS = {each["entrypoint"]: each for each in CONTENT["deployments"]}


def flow_of(entrypoint: str) -> Flow[..., Any]:
    file, _, name = entrypoint.partition(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found = getattr(module, name)
    assert isinstance(found, Flow)
    return found


def test_every_job_is_deployed() -> None:
    jobs = {flow_of(entrypoint).name for entrypoint in DEPLOYMENTS}
    assert jobs == {"tune", "trial", "collect", "offline", "promote", "recurring"}
    assert {each["work_pool"]["name"] for each in DEPLOYMENTS.values()} == set(POOLS)


@pytest.mark.parametrize("entrypoint", DEPLOYMENTS)
def test_it_has_what_the_page_shows(entrypoint: str) -> None:
    deployment = DEPLOYMENTS[entrypoint]
    assert deployment["description"]
    assert deployment["tags"]
    assert deployment["version"] == "{{ $AUTOPIPE_VERSION }}"
    schema = flow_of(entrypoint).parameters
    forms = {"": schema.properties}
    if not entrypoint.endswith(":trial"):  # the others have no form: runs start them
        forms |= {
            name: model["properties"]
            for name, model in (schema.definitions or {}).items()
            if "properties" in model  # a list of choices has none
        }
    bare = [f"{m}.{n}" for m, form in forms.items() for n, f in form.items() if not _told(f)]
    assert not bare, f"{entrypoint}: fields without a description"


def _told(field: dict[str, Any]) -> bool:
    return bool(str(field.get("description") or "").strip())


def test_the_strategy_is_chosen_from_a_list() -> None:
    settings = flow_of("flows/tune.py:tune").parameters.definitions["TuneSettings"]
    assert settings["properties"]["strategy"]["enum"] == list(STRATEGIES)


@pytest.mark.parametrize("entrypoint", [e for e in DEPLOYMENTS if "parameters" in DEPLOYMENTS[e]])
def test_its_parameters_are_valid(entrypoint: str) -> None:
    flow = flow_of(entrypoint)
    flow.validate_parameters(flow.serialize_parameters(DEPLOYMENTS[entrypoint]["parameters"]))


def test_writers_of_what_all_read_run_one_at_a_time() -> None:
    for job in ("offline", "promote", "recurring"):
        [deployment] = [d for e, d in DEPLOYMENTS.items() if e.endswith(f":{job}")]
        assert deployment["concurrency_limit"]["limit"] == 1


def test_nothing_runs_by_itself_before_somebody_says_so() -> None:
    schedules = [s for d in DEPLOYMENTS.values() for s in d.get("schedules", [])]
    assert len(schedules) == 2
    assert not any(schedule["active"] for schedule in schedules)


def placeholders(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(placeholders, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(placeholders, value)) if value else set()
    return set(re.findall(r"{{ (\w+) }}", value)) if isinstance(value, str) else set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_uses_just_the_variables_it_has(kind: str) -> None:
    content = template(kind, TRAIN)
    variables = content["variables"]["properties"]
    assert placeholders(content["job_configuration"]) == set(variables)
    for name, variable in variables.items():
        assert variable["description"], name
        assert "default" in variable, name


@pytest.mark.parametrize("kind", KINDS)
def test_telemetry_is_off_from_the_first_line_on(kind: str) -> None:
    assert (
        TELEMETRY_OFF.items()
        <= template(kind, LEAD)["variables"]["properties"]["env"]["default"].items()
    )


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_what_is_learned_outlives_the_container(kind: str) -> None:
    env = template(kind, LEAD)["variables"]["properties"]["env"]["default"]
    assert env["AUTOPIPE_HOME"] == "/workspace"
    assert env[HISTORY_VARIABLE].startswith("/workspace/")


@pytest.fixture
def client(prefect_harness) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_prefect_takes_the_template(client: SyncPrefectClient, kind: str) -> None:
    name = f"test-{kind}"
    make_pool(client, name, kind)
    pool = client.read_work_pool(name)
    assert pool.type == kind
    assert pool.base_job_template == template(kind, name)


def test_a_pool_is_brought_up_to_date_and_keeps_what_was_set_on_its_page(
    client: SyncPrefectClient,
) -> None:
    old = template("docker", TRAIN)
    variables = old["variables"]["properties"]
    variables["image"]["default"] = "registry.example.org/autopipe:7"
    variables["env"]["default"] = {"AUTOPIPE_HOME": "/workspace", "HF_HOME": "/models"}
    variables["auto_remove"]["description"] = "An older text."
    del variables["shm_size"], old["job_configuration"]["container_create_kwargs"]["shm_size"]
    pool = WorkPoolCreate(name="test-old", type="docker", base_job_template=old)
    client.create_work_pool(pool)
    notes = make_pool(client, "test-old", "docker", client.read_work_pool("test-old"))
    assert [note.split(" = ")[0] for note in notes] == [
        "work pool test-old keeps env",
        "work pool test-old keeps image",
    ]
    found = client.read_work_pool("test-old").base_job_template["variables"]["properties"]
    wanted = template("docker", TRAIN)["variables"]["properties"]
    assert found["image"]["default"] == "registry.example.org/autopipe:7"
    assert found["env"]["default"] == {**wanted["env"]["default"], "HF_HOME": "/models"}
    assert found["auto_remove"] == wanted["auto_remove"]
    assert found["shm_size"] == wanted["shm_size"]
    again = client.read_work_pool("test-old")
    assert make_pool(client, "test-old", "docker", again) == notes


def test_pools_of_another_type_are_refused_before_anything_is_changed(
    client: SyncPrefectClient,
) -> None:
    for name in POOLS:
        make_pool(client, name, "process")
    try:
        with pytest.raises(SettingsError) as refused:
            deploy("docker")
        for name in POOLS:
            assert f"prefect work-pool delete {name}" in str(refused.value)
            assert client.read_work_pool(name).type == "process"
    finally:
        for name in POOLS:
            client.delete_work_pool(name)


def test_pods_ask_for_gpus_but_not_those_that_wait() -> None:
    content = template("kubernetes", TRAIN)
    manifest = content["job_configuration"]["job_manifest"]
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert content["variables"]["properties"]["gpus"]["default"] == 1
    assert template("kubernetes", LEAD)["variables"]["properties"]["gpus"]["default"] == 0


@pytest.mark.parametrize(("pool", "gpus"), [(TRAIN, -1), (LEAD, None)])
def test_containers_ask_docker_for_gpus(pool: str, gpus: int | None) -> None:
    """Docker's own client makes the request that its API would get."""
    content = template("docker", pool)
    values = {k: v["default"] for k, v in content["variables"]["properties"].items()}
    settings = apply_values(content["job_configuration"], values)["container_create_kwargs"]
    made = _create_container_args({"image": "autopipe", "version": "1.47", **settings})
    requests = made["host_config"]["DeviceRequests"]
    assert [request["Count"] for request in requests] == ([gpus] if gpus else [])
    assert made["host_config"]["ShmSize"] == 8 * 2**30


def test_the_image_leaves_out_what_is_not_for_it() -> None:
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "runs", "versions"} <= set(left_out)
